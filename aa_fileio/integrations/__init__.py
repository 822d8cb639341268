# SPDX-License-Identifier: MIT
"""What people use the stream through. Everything here is built on the public API of ``aa_fileio`` alone."""
