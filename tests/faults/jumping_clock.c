/* Preloaded, makes the wall clock of a process jump once a second, between these offsets; monotonic clocks stay. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

#define DAY 86400L
static const long offsets[] = {0, 3 * DAY, -2 * DAY, 400 * DAY, 3600, -3600, 29 * DAY / 2, -4000 * DAY};

static int (*clock_of_libc)(clockid_t, struct timespec *);

static int read_clock(clockid_t id, struct timespec *now) {
    if (!clock_of_libc)
        clock_of_libc = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return clock_of_libc(id, now);
}

static long jump(void) {
    struct timespec ticks;
    read_clock(CLOCK_MONOTONIC, &ticks);
    return offsets[ticks.tv_sec % (long)(sizeof offsets / sizeof *offsets)];
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int failed = read_clock(id, now);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        now->tv_sec += jump();
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec at;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &at))
        return -1;
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (result)
        *result = at.tv_sec;
    return at.tv_sec;
}
