/* SPDX-License-Identifier: MIT */
/* The files of path rules, as the kernel has them: see bpf/rule_files.bpf.h. */
#ifndef AA_RULE_FILES_H
#define AA_RULE_FILES_H

#include "backend.h"
#include "path_rules.h"

/*
 * Opens the rules' files, by O_PATH and for a moment, asks the kernel for their inodes and puts these into `map`. What
 * could not be opened or found says so in `unseen`. Sets *ret_by_number if some count by their number.
 */
struct aa_error *aa_rule_files_identify(struct aa_probes *probes, int map, struct aa_kernel_rules *rules,
					bool *ret_by_number);

#endif
