#include "problem.h"

#include "str.h"
#include <asalee/wire.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SENTENCE_MAX 400

static const struct {
  const char *code, *title;
  int status;
} problems[P_LAST] = {
    [P_OK] = {"ok", "OK", 200},
#define X(code_, status_, title_) [P_##code_] = {#code_, title_, status_},
#include "problem.def"
#undef X
};

static char *sentences[P_LAST];

const char *problem_code(enum problem p) {
  return problems[p].code;
}

const char *problem_title(enum problem p) {
  return problems[p].title;
}

int problem_status(enum problem p) {
  return problems[p].status;
}

const char *problem_detail(enum problem p) {
  return sentences[p] ? sentences[p] : problems[p].title;
}

enum problem problem_find(const char *code) {
  for (int p = 1; p < P_LAST; p++)
    if (!strcmp(problems[p].code, code))
      return (enum problem)p;
  return P_internal;
}

enum problem problem_of_errno(int err) {
  switch (err >= 0 ? 0 : -err) {
  case 0:
    return P_OK;
  case ENOSPC:
  case EDQUOT:
    return P_store_full;
  case EROFS:
  case EACCES:
    return P_store_read_only;
  case EEXIST:
    return P_already_exists;
  case EUCLEAN:
  case ENOENT:
    return P_artefact_corrupt;
  case ENOMEM:
    return P_overloaded;
  default:
    return P_internal;
  }
}

enum problem problem_of_device(int err, int step) {
  if (step == WIRE_STEP_OPEN)
    return err == -ENODEV || err == -ENOENT || err == -ENXIO ? P_device_absent : P_device_open;
  if (step == WIRE_STEP_SANDBOX)
    return P_worker_crashed;
  switch (-err) {
  case EPROTO:
    return P_device_protocol;
  case EBADMSG:
    return P_device_checksum;
  case ERANGE:
    return P_device_value;
  case ENODATA:
    return P_device_no_result;
  case ENXIO:
    return P_device_wrong;
  case EIO:
    return P_device_fault;
  case ETIMEDOUT:
    return P_device_silent;
  case ENODEV:
    return P_device_unplugged;
  case ECANCELED:
    return P_acquisition_cancelled;
  case EFBIG:
    return P_device_overrun;
  case ENOMEM:
  case EPERM:
  case EINVAL: /* ours, not the instrument's */
    return P_worker_crashed;
  default:
    return P_device_protocol;
  }
}

enum problem problem_of_file(int err, int step) {
  if (step == WIRE_STEP_OPEN && err == -EFBIG)
    return P_file_too_large;
  if (step == WIRE_STEP_OPEN || step == WIRE_STEP_SANDBOX)
    return P_worker_crashed;
  switch (-err) {
  case EPROTO:
    return P_file_damaged;
  case EBADMSG:
    return P_file_checksum;
  case ERANGE:
    return P_file_value;
  case ENODATA:
    return P_file_no_reading;
  case ENXIO:
    return P_file_format;
  case EOPNOTSUPP:
    return P_file_variant;
  case EFBIG:
    return P_file_too_large;
  case ECANCELED:
    return P_acquisition_cancelled;
  default:
    return P_worker_crashed;
  }
}

int problem_read_messages(const char *path) {
  FILE *f = fopen(path, "re");
  if (!f) {
    int r = -errno;
    fprintf(stderr, "%s: %s (not installed? --messages config/messages.fr)\n", path, strerrordesc_np(-r));
    return r;
  }
  char line[SENTENCE_MAX + 64];
  unsigned n = 0, errors = 0;
  while (fgets(line, sizeof line, f)) {
    n++;
    line[strcspn(line, "\n")] = 0;
    if (!line[0] || line[0] == '#')
      continue;
    char *equals = strstr(line, " = ");
    if (equals)
      *equals = 0;
    enum problem p = problem_find(line);
    const char *wrong = !equals || !equals[3]                                ? "\"code = sentence\" is expected"
                        : strcmp(problems[p].code, line)                     ? "unknown code"
                        : sentences[p]                                       ? "given twice"
                        : !str_is_clean_utf8(equals + 3, strlen(equals + 3)) ? "not UTF-8 text"
                                                                             : NULL;
    if (!wrong && !(sentences[p] = strdup(equals + 3)))
      wrong = "no memory";
    if (wrong) {
      fprintf(stderr, "%s:%u: %s\n", path, n, wrong);
      errors++;
    }
  }
  fclose(f);
  for (int p = 1; p < P_LAST; p++)
    if (!sentences[p]) {
      fprintf(stderr, "%s: no sentence for %s\n", path, problems[p].code);
      errors++;
    }
  return errors ? -EINVAL : 0;
}
