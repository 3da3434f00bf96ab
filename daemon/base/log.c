#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *log_program = "asaleed";
static enum log_level log_most = LOG_INFO;
static bool log_journal;

void log_open(const char *program, enum log_level most) {
  log_program = program;
  log_most = most;
  log_journal = getenv("JOURNAL_STREAM") != NULL;
}

static void log_write(enum log_level level, const char *format, va_list ap, const char *suffix) {
  if (level > log_most)
    return;
  char line[1024];
  int head = log_journal ? snprintf(line, sizeof line, "<%d>", (int)level)
                         : snprintf(line, sizeof line, "%.64s: ", log_program);
  size_t at = (size_t)head;
  int n = vsnprintf(line + at, sizeof line - at, format, ap);
  at = n < 0 ? at : at + (size_t)n < sizeof line ? at + (size_t)n : sizeof line - 1;
  n = snprintf(line + at, sizeof line - at, "%s", suffix);
  at = n < 0 ? at : at + (size_t)n < sizeof line ? at + (size_t)n : sizeof line - 1;
  for (size_t i = (size_t)head; i < at; i++) /* one event stays one line */
    if ((unsigned char)line[i] < 0x20)
      line[i] = ' ';
  if (at == sizeof line - 1)
    at--;
  line[at++] = '\n';
  ssize_t written = write(STDERR_FILENO, line, at);
  (void)written; /* nobody left to tell */
}

void log_line(enum log_level level, const char *format, ...) {
  int saved = errno;
  va_list ap;
  va_start(ap, format);
  log_write(level, format, ap, "");
  va_end(ap);
  errno = saved;
}

int log_errno(enum log_level level, int err, const char *format, ...) {
  int saved = errno;
  char suffix[128];
  snprintf(suffix, sizeof suffix, ": %s", strerrordesc_np(-err) ? strerrordesc_np(-err) : "unknown error");
  va_list ap;
  va_start(ap, format);
  log_write(level, format, ap, suffix);
  va_end(ap);
  errno = saved;
  return err;
}
