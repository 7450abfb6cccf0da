/* A slow card: every fsync and fdatasync takes SLOW_FSYNC_MS longer. cc -shared -fPIC -o slow_fsync.so slow_fsync.c -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static void wait_first(void)
{
    const char *ms = getenv("SLOW_FSYNC_MS");
    long wanted = ms ? atol(ms) : 0;
    struct timespec pause = {wanted / 1000, (wanted % 1000) * 1000000L};
    nanosleep(&pause, NULL);
}

int fsync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_first();
    return real(fd);
}

int fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_first();
    return real(fd);
}
