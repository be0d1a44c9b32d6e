// weft-search bench: what the approximate index finds of the nearest embeddings, and how fast, on made-up catalogues.
#pragma once

namespace weft {

/// Its options and its run; returns the exit code.
int run_search_bench(int argc, char** argv);

}  // namespace weft
