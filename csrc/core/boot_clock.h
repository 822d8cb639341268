/* SPDX-License-Identifier: MIT */
/* CLOCK_BOOTTIME as the kernel side has it: clock_gettime(2) adds the offset of a time namespace. */
#ifndef AA_FILEIO_BOOT_CLOCK_H
#define AA_FILEIO_BOOT_CLOCK_H

#include <stdint.h>

uint64_t aa_boot_clock_ns(void);

#endif
