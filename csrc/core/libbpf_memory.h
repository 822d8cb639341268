/* SPDX-License-Identifier: MIT */
/*
 * What libbpf remembers of the kernel.
 *
 * libbpf finds out by trial what the kernel can do, when it needs it first, and keeps each answer for the life of the
 * process. It takes any refusal for "cannot": a trial that fails because descriptors or memory are short for a moment
 * spoils every later load (libbpf 1.1.2: kernel_supports(); 1.5: feat_supported()). It offers no way to ask again.
 */
#ifndef AA_LIBBPF_MEMORY_H
#define AA_LIBBPF_MEMORY_H

/*
 * Once, before libbpf makes its first trial: notes the words of libbpf's own data that hold nothing. Where libbpf is
 * linked into this library its data cannot be told from ours, and nothing is noted.
 */
void aa_libbpf_note(void);
/* Before each load: what libbpf holds for missing it asks the kernel once more. */
void aa_libbpf_ask_again(void);

#endif
