/* Preloaded into a process: its wall clock, and the one that goes on while a machine is suspended, are as many
   nanoseconds ahead as the file that MOVED_CLOCK names says at that moment. The monotonic clock is the machine's. So a
   move forwards looks to the process as if the machine had been suspended. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static const int64_t SECOND = 1000000000;
static const volatile int64_t *ahead;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("MOVED_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    if (page == MAP_FAILED)
        abort();
    ahead = page;
    close(file);
}

static void move(struct timespec *at, int64_t by)
{
    int64_t moved = at->tv_sec * SECOND + at->tv_nsec + by;
    *at = (struct timespec){.tv_sec = moved / SECOND, .tv_nsec = moved % SECOND};
}

int clock_gettime(clockid_t clock, struct timespec *at)
{
    int failed = syscall(SYS_clock_gettime, clock, at);
    if (!failed && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_BOOTTIME))
        move(at, *ahead);
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *at = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *at)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at)
        *at = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *at, int base)
{
    return clock_gettime(CLOCK_REALTIME, at) ? 0 : base;
}

/* The kernel waits by its own clock. A moment of the wall clock is decades after the machine's start. */
int pthread_cond_timedwait(pthread_cond_t *restrict changed, pthread_mutex_t *restrict lock, const struct timespec *restrict until)
{
    struct timespec at = *until;
    int wall = at.tv_sec > 1000000000;
    if (wall)
        move(&at, -*ahead);
    return pthread_cond_clockwait(changed, lock, wall ? CLOCK_REALTIME : CLOCK_MONOTONIC, &at);
}

int cnd_timedwait(cnd_t *restrict changed, mtx_t *restrict lock, const struct timespec *restrict until)
{
    int failed = pthread_cond_timedwait((pthread_cond_t *)changed, (pthread_mutex_t *)lock, until);
    return !failed ? thrd_success : failed == ETIMEDOUT ? thrd_timedout : thrd_error;
}
