/* clock_step: LD_PRELOAD library under which the system's clock is off by ASALEED_CLOCK_STEP seconds. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long step;

__attribute__((constructor)) static void begin(void) {
  const char *text = getenv("ASALEED_CLOCK_STEP");
  step = text ? strtol(text, NULL, 10) : 0;
}

int clock_gettime(clockid_t id, struct timespec *ret) {
  int r = (int)syscall(SYS_clock_gettime, id, ret);
  if (r == 0 && id == CLOCK_REALTIME)
    ret->tv_sec += step;
  return r;
}

time_t time(time_t *ret) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (ret)
    *ret = now.tv_sec;
  return now.tv_sec;
}
