/* A disk that can lose power: what a program has forced to the disk is also kept, file by file, in a second folder.
   DISK is the folder on the disk, PLATTER holds what a power cut would leave of it; both absolute, without links.
   Everything that was not followed by fsync or fdatasync is missing there.
   cc -shared -fPIC -o disk.so disk.c -ldl -lpthread */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static void give_up(const char *what, const char *path)
{
    fprintf(stderr, "disk.so: %s %s: %s\n", what, path, strerror(errno));
    abort();
}

/* A copy appears whole or not at all: the program may be killed in the middle. */
static void keep(const char *from, const char *to)
{
    char draft[PATH_MAX + 16], buffer[65536];
    ssize_t length;
    int in = open(from, O_RDONLY | O_CLOEXEC), out;

    if (in < 0) {
        if (errno == ENOENT)
            return;
        give_up("cannot read", from);
    }
    snprintf(draft, sizeof draft, "%s.%d~", to, (int)getpid());
    out = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out < 0)
        give_up("cannot write", draft);
    while ((length = read(in, buffer, sizeof buffer)) > 0)
        if (write(out, buffer, length) != length)
            give_up("cannot write", draft);
    close(in);
    close(out);
    if (length < 0 || rename(draft, to) < 0)
        give_up("cannot keep", to);
}

/* The names in a folder: those that are gone go, those that came (by renaming) come. */
static void keep_names(const char *disk, const char *platter)
{
    char here[PATH_MAX], there[PATH_MAX];
    struct stat status;
    struct dirent *entry;
    DIR *folder = opendir(platter);

    while (folder && (entry = readdir(folder))) {
        snprintf(here, sizeof here, "%s/%s", disk, entry->d_name);
        snprintf(there, sizeof there, "%s/%s", platter, entry->d_name);
        if (lstat(here, &status) < 0)
            unlink(there);
    }
    if (folder)
        closedir(folder);
    folder = opendir(disk);
    while (folder && (entry = readdir(folder))) {
        snprintf(here, sizeof here, "%s/%s", disk, entry->d_name);
        snprintf(there, sizeof there, "%s/%s", platter, entry->d_name);
        if (lstat(here, &status) == 0 && S_ISREG(status.st_mode) && access(there, F_OK) < 0)
            keep(here, there);
    }
    if (folder)
        closedir(folder);
}

static void forced(int fd)
{
    const char *disk = getenv("DISK"), *platter = getenv("PLATTER");
    char link[64], path[PATH_MAX], to[PATH_MAX];
    struct stat status;
    ssize_t length;
    pid_t child, parent;
    int outcome;
    size_t skip = disk ? strlen(disk) : 0;

    if (!disk || !platter)
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0 || fstat(fd, &status) < 0 || status.st_nlink == 0)
        return;
    path[length] = 0;
    /* Only what lies directly in the folder: the databases and their companions. */
    if (strncmp(path, disk, skip) || (path[skip] && (path[skip] != '/' || strchr(path + skip + 1, '/'))))
        return;
    pthread_mutex_lock(&one_at_a_time);
    /* In a process of its own: a process that closes a file loses all its locks on it, and SQLite relies on those. */
    parent = getpid();
    child = fork();
    if (child == 0) {
        /* With the program ends its copy: the disk is about to change under it, and half of that would be kept. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
            _exit(1);
        if (S_ISDIR(status.st_mode)) {
            keep_names(disk, platter);
        } else if (S_ISREG(status.st_mode)) {
            snprintf(to, sizeof to, "%s%s", platter, path + skip);
            keep(path, to);
        }
        _exit(0);
    }
    if (child < 0)
        give_up("cannot keep", path);
    while (waitpid(child, &outcome, 0) != child) /* a signal that ends the program may arrive meanwhile */
        if (errno != EINTR)
            give_up("cannot keep", path);
    if (outcome != 0)
        give_up("cannot keep", path);
    pthread_mutex_unlock(&one_at_a_time);
}

static int force(const char *name, int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int result = real(fd);

    if (result == 0) {
        forced(fd);
        errno = 0;
    }
    return result;
}

int fsync(int fd)
{
    return force("fsync", fd);
}

int fdatasync(int fd)
{
    return force("fdatasync", fd);
}
