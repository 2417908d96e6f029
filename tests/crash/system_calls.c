/* Preloaded into a process: counts the system calls that change files of a directory, kills the process before one of
 * them, and logs them with what they write. `system_calls.py` compiles and arms it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

struct record {
    char call; /* w(rite), t(runcate), s(ync), u(nlink) */
    uint16_t path_length;
    uint32_t length;
    int64_t offset;
} __attribute__((packed));

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char directory[4096];
static long kill_at, made;
static int log_file = -1;

/* Begin to count; the call of the number `at` is not made, and neither is anything after it. */
void arm(const char *watched, long at, int file)
{
    snprintf(directory, sizeof directory, "%s", watched);
    kill_at = at;
    log_file = file;
}

long calls_made(void) { return made; }

static int is_watched(const char *path)
{
    size_t length = strlen(directory);
    return length > 0 && strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static int path_of(int file, char *path, size_t size)
{
    char link[64];
    if (directory[0] == 0 || file == log_file)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, size - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_watched(path);
}

static void count(void)
{
    if (++made == kill_at)
        kill(getpid(), SIGKILL);
}

static void note(char call, const char *path, int64_t offset, const void *data, ssize_t length)
{
    if (log_file < 0 || length < 0)
        return;
    struct record record = {call, strlen(path), data == NULL ? 0 : length, offset};
    struct iovec parts[] = {
        {&record, sizeof record}, {(void *)path, record.path_length}, {(void *)data, record.length}};
    if (syscall(SYS_writev, log_file, parts, 3) < 0)
        kill(getpid(), SIGABRT);
}

#define CHANGE(FILE, CALL, OFFSET, DATA, REAL)                                                                         \
    char path[4096];                                                                                                   \
    if (!path_of(FILE, path, sizeof path))                                                                             \
        return REAL;                                                                                                   \
    pthread_mutex_lock(&lock);                                                                                         \
    int64_t offset = OFFSET;                                                                                           \
    count();                                                                                                           \
    ssize_t result = REAL;                                                                                             \
    note(CALL, path, offset, DATA, result);                                                                            \
    pthread_mutex_unlock(&lock);                                                                                       \
    return result;

/* Appending moves to the end, where the write goes. */
static int64_t position(int file)
{
    return syscall(SYS_lseek, file, 0, fcntl(file, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
}

ssize_t write(int file, const void *data, size_t length)
{
    CHANGE(file, 'w', position(file), data, syscall(SYS_write, file, data, length))
}

ssize_t pwrite64(int file, const void *data, size_t length, off64_t at)
{
    CHANGE(file, 'w', at, data, syscall(SYS_pwrite64, file, data, length, at))
}

ssize_t pwrite(int file, const void *data, size_t length, off_t at) { return pwrite64(file, data, length, at); }

int ftruncate64(int file, off64_t length) { CHANGE(file, 't', length, NULL, syscall(SYS_ftruncate, file, length)) }

int ftruncate(int file, off_t length) { return ftruncate64(file, length); }

int fsync(int file) { CHANGE(file, 's', 0, NULL, syscall(SYS_fsync, file)) }

int fdatasync(int file) { CHANGE(file, 's', 0, NULL, syscall(SYS_fdatasync, file)) }

int unlink(const char *path)
{
    if (!is_watched(path))
        return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_lock(&lock);
    count();
    int result = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    note('u', path, 0, NULL, result);
    pthread_mutex_unlock(&lock);
    return result;
}
