// Zero-shot classification of GLAMI-1M's items (mission.md's System 2): the category whose description CLIP finds nearest.
#pragma once

#include <string>

#include "apps/embedder.h"
#include "apps/embedding_store.h"
#include "apps/evaluation.h"

namespace weft {

/// "womens-hats-and-caps" -> "A photo of a women's hats or caps, a type of fashion product", as the benchmark has it.
std::string zero_shot_prompt(const std::string& category);

/// Image, text and both, of every row whose embeddings are there: the cosine of each category's prompt with the
/// embedding, or with the sum of both, not normalised before.
Evaluation evaluate_zero_shot(const GlamiTable& table, const EmbeddingStore& images, const EmbeddingStore& texts,
                              const TextEmbedder& prompts);

/// weft-evaluate zeroshot: its options and its run; returns the exit code.
int run_zero_shot(int argc, char** argv);

}  // namespace weft
