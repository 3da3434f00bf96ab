/* asaleed-export: one job a process (include/asalee/export.h). */
#include "check.h"
#include "decode.h"
#include "encode.h"
#include "hash.h"
#include "log.h"
#include "record.h"
#include "sandbox.h"
#include "str.h"
#include <asalee/export.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef ASALEED_VERSION
#define ASALEED_VERSION "unreleased"
#endif

static const char usage[] =
    "usage: asaleed-export encode\n"
    "       asaleed-export decode\n"
    "       asaleed-export check FILE...\n"
    "       asaleed-export --help | --version\n"
    "\n"
    "encode   makes one DICOM object of one record; only asaleed starts this\n"
    "decode   reads one DICOM file for a driver; only asaleed starts this\n"
    "check    looks whether DICOM objects keep to the limits of their kind; silent when all do\n";

static int wrong(void) {
  fputs(usage, stderr);
  return EXPORT_USAGE;
}

/* A file, as it lies in memory; an empty one, or a device, has no bytes. */
struct given {
  const uint8_t *bytes;
  size_t n;
};

/* `flags`: MAP_POPULATE where all of it will be looked at. */
static int map(int fd, size_t max, int flags, struct given *ret) {
  struct stat s;
  if (fstat(fd, &s) < 0)
    return -errno;
  static const int16_t nothing; /* aligned as samples are */
  *ret = (struct given){(const uint8_t *)&nothing, 0};
  if (!S_ISREG(s.st_mode) || s.st_size == 0)
    return 0;
  if ((uint64_t)s.st_size > max)
    return -EFBIG;
  void *p = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_SHARED | flags, fd, 0);
  if (p == MAP_FAILED)
    return -errno;
  *ret = (struct given){p, (size_t)s.st_size};
  return 0;
}

/* ---- check ---- */

static int check_one(const char *name) {
  char reason[256];
  struct given file;
  _fd_cleanup_ int fd = open(name, O_RDONLY | O_CLOEXEC);
  int r = fd < 0 ? -errno : map(fd, EXPORT_OBJECT_MAX, 0, &file);
  if (r < 0) {
    log_errno(LOG_ERROR, r, "%s", name);
    return EXPORT_FAILED;
  }
  bool good = check_object(file.bytes, file.n, reason);
  if (!good)
    log_error("%s: %s", name, reason);
  if (file.n)
    munmap((void *)(uintptr_t)file.bytes, file.n);
  return good ? EXPORT_DONE : EXPORT_REFUSED;
}

static int command_check(char **names) {
  int status = EXPORT_DONE;
  for (; *names; names++) {
    int r = check_one(*names);
    status = r > status ? r : status;
  }
  return status;
}

/* ---- encode ---- */

/* What a failure means for whoever started us. */
static int verdict(int err, const char *what) {
  if (err == -EPROTO || err == -EFBIG) {
    log_error("refused: %s", what);
    return EXPORT_REFUSED;
  }
  log_errno(LOG_ERROR, err, "failed");
  return EXPORT_FAILED;
}

/* Reads back what stands in the file. */
static int check_written(int fd, char reason[static 256]) {
  struct given file;
  int r = map(fd, EXPORT_OBJECT_MAX, 0, &file);
  if (r < 0)
    return r;
  return check_object(file.bytes, file.n, reason) ? 0 : -EPROTO;
}

static int deliver(const struct encode_input *in, char reason[static 256]) {
  struct encode_output out;
  int r = encode(in, &out, reason);
  if (r == 0)
    r = dicom_write(out.object, EXPORT_FD_OUT, out.transfer_syntax, out.pixels.n ? &out.pixels : NULL);
  if (r == -EFBIG)
    snprintf(reason, 256, "larger than an object may be");
  if (r == -EINVAL) { /* and would not the next time either */
    snprintf(reason, 256, "the toolkit does not take a value");
    r = -EPROTO;
  }
  if (r == 0)
    r = check_written(EXPORT_FD_OUT, reason);
  encode_finish(&out);
  return r;
}

/* The descriptors from `first` on are there, and the last is an empty file. */
static bool is_started_right(int first) {
  struct stat s;
  for (int fd = first; fd <= EXPORT_FD_OUT; fd++)
    if (fcntl(fd, F_GETFD) < 0) {
      log_error("descriptors %d to %d are not there: only asaleed starts this", first, EXPORT_FD_OUT);
      return false;
    }
  if (fstat(EXPORT_FD_OUT, &s) < 0 || !S_ISREG(s.st_mode) || s.st_size) {
    log_error("descriptor %d is not an empty file", EXPORT_FD_OUT);
    return false;
  }
  return true;
}

/* The end of a job. Nothing that is half made is ever delivered. */
static int ended(int r, const char *reason) {
  if (r == 0)
    return EXPORT_DONE;
  if (ftruncate(EXPORT_FD_OUT, 0) < 0)
    log_errno(LOG_WARNING, -errno, "what was made could not be emptied");
  return verdict(r, reason);
}

static int command_encode(void) {
  char reason[256] = "larger than it may be";
  struct given job_text, record_text, data;
  struct job job = {0};
  json_t *record = NULL;
  if (!is_started_right(EXPORT_FD_JOB))
    return EXPORT_USAGE;
  int r = hash_open(); /* asks for random bytes, though there is nothing secret here */
  if (r == 0)
    r = sandbox_enter();
  if (r < 0)
    return verdict(r, "");
  if ((r = map(EXPORT_FD_JOB, EXPORT_JOB_MAX, MAP_POPULATE, &job_text)) < 0 ||
      (r = map(EXPORT_FD_RECORD, RECORD_JSON_MAX, MAP_POPULATE, &record_text)) < 0 ||
      (r = map(EXPORT_FD_DATA, EXPORT_OBJECT_MAX, MAP_POPULATE, &data)) < 0)
    return verdict(r, reason);
  r = job_read((const char *)job_text.bytes, job_text.n, &job, reason);
  if (r == 0) {
    /* A fundus has no samples: the data is one of its pictures. */
    r = record_read((const char *)record_text.bytes, record_text.n, data.bytes, job.act == ACQ_FUNDUS ? 0 : data.n,
                    &record, reason);
    if (r == -EPROTO) /* the reader's reason may quote it */
      snprintf(reason, sizeof reason, "the record, or its samples, are not in their form");
  }
  if (r == 0)
    r = deliver(&(struct encode_input){&job, record, data.bytes, data.n}, reason);
  json_decref(record);
  job_finish(&job);
  return ended(r, reason);
}

/* ---- decode ---- */

static int command_decode(void) {
  char reason[256] = "larger than it may be";
  struct given file;
  if (!is_started_right(EXPORT_FD_DATA))
    return EXPORT_USAGE;
  int r = sandbox_enter();
  if (r < 0)
    return verdict(r, "");
  r = map(EXPORT_FD_DATA, EXPORT_OBJECT_MAX, MAP_POPULATE, &file);
  if (r == 0)
    r = decode(file.bytes, file.n, EXPORT_FD_OUT, reason);
  return ended(r, reason);
}

int main(int argc, char **argv) {
  const char *command = argc > 1 ? argv[1] : "";
  log_open("asaleed-export", LOG_INFO);
  if (!strcmp(command, "encode") && argc == 2)
    _exit(command_encode()); /* in the sandbox, where an exit handler would be refused what it needs */
  if (!strcmp(command, "decode") && argc == 2)
    _exit(command_decode());
  if (!strcmp(command, "check") && argc > 2)
    return command_check(argv + 2);
  if (!strcmp(command, "--help") && argc == 2)
    return fputs(usage, stdout) < 0;
  if (!strcmp(command, "--version") && argc == 2)
    return puts("asaleed-export " ASALEED_VERSION) < 0;
  return wrong();
}
