/* One line per event on standard error, with the priority prefix of sd-daemon(3) when the journal reads it.
 * A line carries ids and codes, never a patient's identity and never a finding: what a caller may pass is limited
 * to its own texts, ids and numbers. */
#ifndef ASALEED_LOG_H
#define ASALEED_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR = 3, LOG_WARNING = 4, LOG_NOTICE = 5, LOG_INFO = 6, LOG_DEBUG = 7 };

void log_open(const char *program, enum log_level most); /* lines above `most` are dropped */

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Logs "<message>: <strerror(-err)>" and returns err, so that a caller can log once and return. */
int log_errno(enum log_level level, int err, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
