// Ctrl-C and a polite kill: the first asks the program to stop at its next step and save, the second ends it at once.
#pragma once

namespace weft {

/// Takes over SIGINT and SIGTERM from here on.
void catch_interrupts();
/// Whether one has arrived.
bool interrupted();

}  // namespace weft
