// SPDX-License-Identifier: MIT
#include "libbpf_memory.h"

#include <bpf/libbpf.h>
#include <link.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* enum kern_feature_result of libbpf: 0 is not known yet, 1 supported. */
#define AA_FEATURE_UNKNOWN 0u
#define AA_FEATURE_MISSING 2u

/* The data that libbpf writes: .data and .bss, without what the linker has made read-only after relocation. */
static uint32_t *aa_words;
static size_t aa_word_count;
/* Numbers of the words that were 0 before libbpf was used: a trial's answer is one of them, and is 2 for "missing". */
static uint32_t *aa_unknown;
static size_t aa_unknown_count;

static bool aa_object_has(const struct dl_phdr_info *object, uintptr_t address)
{
	for (unsigned i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];

		if (part->p_type == PT_LOAD && address - (object->dlpi_addr + part->p_vaddr) < part->p_memsz)
			return true;
	}
	return false;
}

static int aa_words_find(struct dl_phdr_info *object, size_t bytes, void *context)
{
	uintptr_t start = 0, end = 0, page = 4096;

	(void)bytes;
	(void)context;
	if (!aa_object_has(object, (uintptr_t)bpf_object__open_skeleton))
		return 0;
	if (aa_object_has(object, (uintptr_t)aa_libbpf_note))
		return 1;
	for (unsigned i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];

		if (part->p_type == PT_LOAD && part->p_flags & PF_W) {
			start = object->dlpi_addr + part->p_vaddr;
			end = start + part->p_memsz;
		}
	}
	for (unsigned i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];
		uintptr_t until = object->dlpi_addr + part->p_vaddr + part->p_memsz;

		if (part->p_type == PT_GNU_RELRO && until > start && until <= end)
			start = (until + page - 1) & ~(page - 1);
	}
	if (start < end) {
		/* NOLINTNEXTLINE(performance-no-int-to-ptr) an address of the program header */
		aa_words = (uint32_t *)((start + 3) & ~(uintptr_t)3);
		aa_word_count = (end - (uintptr_t)aa_words) / sizeof(*aa_words);
	}
	return 1;
}

static void aa_note_once(void)
{
	dl_iterate_phdr(aa_words_find, NULL);
	aa_unknown = aa_word_count ? malloc(aa_word_count * sizeof(*aa_unknown)) : NULL;
	for (size_t i = 0; aa_unknown && i < aa_word_count; i++)
		if (__atomic_load_n(&aa_words[i], __ATOMIC_RELAXED) == AA_FEATURE_UNKNOWN)
			aa_unknown[aa_unknown_count++] = (uint32_t)i;
}

void aa_libbpf_note(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, aa_note_once);
}

/*
 * A word that was 0 and is 2 is an answer of a trial, or another thing that libbpf finds out when it needs it (the
 * number of processors): asked again, it comes out the same unless the answer was wrong. Another thread that makes the
 * same trial meanwhile writes what it finds, after this.
 */
void aa_libbpf_ask_again(void)
{
	for (size_t i = 0; i < aa_unknown_count; i++) {
		uint32_t *word = &aa_words[aa_unknown[i]], missing = AA_FEATURE_MISSING;

		__atomic_compare_exchange_n(word, &missing, AA_FEATURE_UNKNOWN, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
	}
}
