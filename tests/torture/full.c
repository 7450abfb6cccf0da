/* A disk that is full as long as the file FULL is there: what would make a file longer fails with ENOSPC, by the calls
   that PostgreSQL writes its tables, indexes and its write-ahead log with. What fits into a file that is there is written.
   cc -shared -fPIC -o full.so full.c -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int has_room(int fd, off_t end)
{
    const char *full = getenv("FULL");
    struct stat status;
    int before = errno;

    if (!full || access(full, F_OK) < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || end <= status.st_size) {
        errno = before;
        return 1;
    }
    errno = ENOSPC;
    return 0;
}

static off_t length(const struct iovec *parts, int count)
{
    off_t sum = 0;

    while (count-- > 0)
        sum += parts[count].iov_len;
    return sum;
}

#define PWRITE(name)                                                                                                   \
    ssize_t name(int fd, const void *data, size_t size, off_t at)                                                      \
    {                                                                                                                  \
        ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, #name);                                   \
        return has_room(fd, at + (off_t)size) ? real(fd, data, size, at) : -1;                                         \
    }
#define PWRITEV(name)                                                                                                  \
    ssize_t name(int fd, const struct iovec *parts, int count, off_t at)                                               \
    {                                                                                                                  \
        ssize_t (*real)(int, const struct iovec *, int, off_t) = dlsym(RTLD_NEXT, #name);                              \
        return has_room(fd, at + length(parts, count)) ? real(fd, parts, count, at) : -1;                              \
    }
#define FALLOCATE(name)                                                                                                \
    int name(int fd, off_t at, off_t size)                                                                             \
    {                                                                                                                  \
        int (*real)(int, off_t, off_t) = dlsym(RTLD_NEXT, #name);                                                      \
        return has_room(fd, at + size) ? real(fd, at, size) : ENOSPC;                                                  \
    }

PWRITE(pwrite)
PWRITE(pwrite64)
PWRITEV(pwritev)
PWRITEV(pwritev64)
FALLOCATE(posix_fallocate)
FALLOCATE(posix_fallocate64)
