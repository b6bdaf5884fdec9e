"""Keep the memory of one step for the next."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LARGEST_KEPT = 2 ** 25  # bytes of one array: the largest for which glibc documents the threshold
KEPT_FREE = 2 ** 29  # bytes in all, for each thread


def keep_freed_memory():
    """Let this process keep the memory of arrays that are gone, where the C library is glibc; True if it could.

    By default the memory of a large array goes back to the kernel at once, and the kernel clears and maps each page of
    the next one again: that took up to a third of a training step. It holds until the process ends, for every library
    in it, and takes no more memory than the largest step needed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT) and mallopt(M_TRIM_THRESHOLD, KEPT_FREE))
