/* A wall clock that is set wrong: every program that this is preloaded into sees the machine's clock, off by as many
   seconds as the file CLOCK holds (a double, as the machine stores it), now and later. Clocks that only go forward stay
   as they are, as where a person or a time server sets a clock.
   cc -shared -fPIC -o clock.so clock.c -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile double *off_s;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (!path)
        return;
    off_s = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *off_s, PROT_READ, MAP_SHARED, file, 0);
    if (off_s == MAP_FAILED) {
        perror(path);
        abort();
    }
    close(file);
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    int result;

    if (!real) /* another library's constructor runs before ours */
        begin();
    result = real(id, now);
    if (result == 0 && off_s && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
        double off = *off_s;
        time_t whole = (time_t)off;

        if (whole > off)
            whole--;
        now->tv_sec += whole;
        now->tv_nsec += (long)((off - whole) * 1e9);
        if (now->tv_nsec >= 1000000000L) {
            now->tv_sec += 1;
            now->tv_nsec -= 1000000000L;
        }
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;

    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact) < 0)
        return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec exact;

    if (clock_gettime(CLOCK_REALTIME, &exact) < 0)
        return -1;
    if (now)
        *now = exact.tv_sec;
    return exact.tv_sec;
}
