/* What every fuzz target is: one function that must survive any bytes (LLVM's libFuzzer calls it). */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
