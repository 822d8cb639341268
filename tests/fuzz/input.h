/* SPDX-License-Identifier: MIT */
/* Takes values from the fuzzer's bytes, in order. Past the end every value is 0, so that each input has a meaning. */
#ifndef AA_FUZZ_INPUT_H
#define AA_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
	const uint8_t *at;
	size_t left;
};

static inline void input_bytes(struct input *input, void *ret_bytes, size_t count)
{
	size_t taken = count < input->left ? count : input->left;

	memset(ret_bytes, 0, count);
	memcpy(ret_bytes, input->at, taken);
	input->at += taken;
	input->left -= taken;
}

static inline uint8_t input_byte(struct input *input)
{
	uint8_t byte;

	input_bytes(input, &byte, 1);
	return byte;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
