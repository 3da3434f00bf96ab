/* Problems: a stable code, an HTTP status, a French sentence with the next step. */
#ifndef ASALEED_PROBLEM_H
#define ASALEED_PROBLEM_H

enum problem {
  P_OK = 0,
#define X(code, status, title) P_##code,
#include "problem.def"
#undef X
  P_LAST
};

const char *problem_code(enum problem p);
const char *problem_title(enum problem p);
int problem_status(enum problem p);
const char *problem_detail(enum problem p);  /* French; the title until problem_read_messages() */
enum problem problem_find(const char *code); /* P_internal for an unknown one */

/* What an error of the store, an artefact or the system is to a caller. P_OK for err >= 0. */
enum problem problem_of_errno(int err);
/* What a worker's error (driver.h) is to the nurse. */
enum problem problem_of_device(int err, int step);
/* The same of a file that was taken in. */
enum problem problem_of_file(int err, int step);

/* Reads "code = sentence" lines; each code exactly once and none unknown, else "file:line: message" and -EINVAL. */
int problem_read_messages(const char *path);

#endif
