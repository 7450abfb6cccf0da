/* Kills the process in the middle of a chosen change below a folder: half of a write is written, any other change is not
   made. watch_changes() begins to count; at 0 nothing is killed.
   cc -shared -fPIC -o kill_point.so kill_point.c -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[PATH_MAX], kinds[100000];
static long count, kill_at;

void watch_changes(const char *below, long at)
{
    snprintf(folder, sizeof folder, "%s", below);
    count = 0;
    kill_at = at;
}

/* A letter for each change: (w)rite, (t)runcate, (f)orce to the disk, (n)ame. */
const char *changes(void) { return kinds; }

static int is_below(const char *path) { return *folder && strncmp(path, folder, strlen(folder)) == 0; }

static int is_watched(int fd)
{
    char link[64], path[PATH_MAX];
    ssize_t length;

    if (!*folder)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_below(path);
}

static int is_due(char kind)
{
    if (count < (long)sizeof kinds - 1)
        kinds[count] = kind;
    return ++count == kill_at;
}

static void end(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static void meet(int watched, char kind)
{
    if (watched && is_due(kind))
        end();
}

static int at(int fd, const char *path) { return *path == '/' ? is_below(path) : fd != AT_FDCWD && is_watched(fd); }

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(write);
    if (is_watched(fd) && is_due('w')) {
        real(fd, data, size / 2);
        end();
    }
    return real(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    REAL(pwrite);
    if (is_watched(fd) && is_due('w')) {
        real(fd, data, size / 2, offset);
        end();
    }
    return real(fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    REAL(pwrite64);
    if (is_watched(fd) && is_due('w')) {
        real(fd, data, size / 2, offset);
        end();
    }
    return real(fd, data, size, offset);
}

int ftruncate(int fd, off_t size) { REAL(ftruncate); meet(is_watched(fd), 't'); return real(fd, size); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); meet(is_watched(fd), 't'); return real(fd, size); }
int fsync(int fd) { REAL(fsync); meet(is_watched(fd), 'f'); return real(fd); }
int fdatasync(int fd) { REAL(fdatasync); meet(is_watched(fd), 'f'); return real(fd); }
int rename(const char *from, const char *to) { REAL(rename); meet(at(AT_FDCWD, to), 'n'); return real(from, to); }
int unlink(const char *path) { REAL(unlink); meet(at(AT_FDCWD, path), 'n'); return real(path); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir); meet(at(AT_FDCWD, path), 'n'); return real(path, mode); }
int link(const char *from, const char *to) { REAL(link); meet(at(AT_FDCWD, to), 'n'); return real(from, to); }
int unlinkat(int fd, const char *path, int flags) { REAL(unlinkat); meet(at(fd, path), 'n'); return real(fd, path, flags); }
int mkdirat(int fd, const char *path, mode_t mode) { REAL(mkdirat); meet(at(fd, path), 'n'); return real(fd, path, mode); }

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    REAL(renameat);
    meet(at(to_fd, to), 'n');
    return real(from_fd, from, to_fd, to);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    REAL(linkat);
    meet(at(to_fd, to), 'n');
    return real(from_fd, from, to_fd, to, flags);
}
