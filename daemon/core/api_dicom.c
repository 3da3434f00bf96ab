/* DICOM objects, in the variant that the caller's role gets. */
#include "api.h"

#include "log.h"
#include "mask.h"
#include "str.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* An object on its way: hashed as it is read, and its end is kept back until the hash is right. */
struct sending {
  int fd;
  uint64_t left;
  struct hash_stream hash;
  char sha256[HASH_TEXT];
};

static size_t sending_read(void *arg, char *bytes, size_t max) {
  struct sending *s = arg;
  ssize_t n;
  do
    n = read(s->fd, bytes, max < s->left ? max : (size_t)s->left);
  while (n < 0 && errno == EINTR);
  if (n <= 0) {
    log_error("artefact %s: cannot be read to its end", s->sha256);
    return 0;
  }
  hash_add(&s->hash, bytes, (size_t)n);
  s->left -= (uint64_t)n;
  if (s->left)
    return (size_t)n;
  char again[HASH_TEXT];
  hash_text(&s->hash, again);
  if (!strcmp(again, s->sha256))
    return (size_t)n;
  log_error("artefact %s: its contents are damaged", s->sha256);
  return 0;
}

static void sending_finish(void *arg) {
  struct sending *s = arg;
  close(s->fd);
  free(s);
}

static enum problem send_object(struct api_call *call, const struct dicom_object *object) {
  struct stat st;
  _fd_cleanup_ int fd = artefact_open(call->api->artefacts, object->sha256);
  if (fd < 0)
    return problem_of_errno(fd);
  if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size != object->bytes)
    return P_artefact_corrupt;
  struct sending *s = calloc(1, sizeof *s);
  if (!s)
    return P_overloaded;
  s->left = (uint64_t)object->bytes;
  str_copy(s->sha256, sizeof s->sha256, object->sha256);
  hash_start(&s->hash);
  s->fd = fd;
  fd = -1;
  call->http->status = 200;
  call->http->type = "application/dicom";
  call->http->stream = (struct http_stream){.read = sending_read, .finish = sending_finish, .arg = s, .bytes = s->left};
  return P_OK;
}

/* Which picture: ?n=, which may be left out where there is but one. */
static enum problem take_picture(struct api_call *call, struct dicom_key *key) {
  const char *text = http_query(call->http, "n");
  uint64_t n = 0;
  call->field = "n";
  if (text && str_to_u64(text, 1, INT32_MAX, &n) < 0)
    return P_invalid_field;
  struct rows r = store_query(call->api->store,
                              "SELECT count(*), min(number) FROM picture WHERE record = ?1 AND (?2 = 0 OR number = ?2)",
                              "ii", key->record, (int64_t)n);
  int64_t pictures = rows_next(&r) ? rows_int(&r, 0) : 0;
  key->number = pictures ? rows_int(&r, 1) : 0;
  int err = rows_finish(&r);
  if (err < 0)
    return problem_of_errno(err);
  if (text && !pictures)
    return P_not_found;
  if (pictures > 1)
    return P_missing_field;
  call->field = NULL;
  return P_OK;
}

static bool gets_whole(enum role role) {
  return mask_shows(role, PART_STATEMENTS) && mask_shows(role, PART_DEVICE);
}

enum problem api_record_dicom(struct api_call *call) {
  struct dicom_key key = {.whole = gets_whole(call->caller.role)};
  struct dicom_object object;
  if (!mask_shows(call->caller.role, PART_IDENTITY))
    return P_forbidden;
  if (!api_id(call->id, 'R', &key.record))
    return P_not_found;
  enum problem p = take_picture(call, &key);
  if (p == P_OK)
    p = dicom_find(call->api->dicom, &key, &object);
  if (p == P_OK)
    p = send_object(call, &object);
  if (p != P_OK)
    return p;
  if (key.number)
    snprintf(call->http->file, sizeof call->http->file, "R-%lld-%lld.dcm", (long long)key.record,
             (long long)key.number);
  else
    snprintf(call->http->file, sizeof call->http->file, "R-%lld.dcm", (long long)key.record);
  return P_OK;
}

int api_dicom_list(struct api_call *call, int64_t study, json_t **ret) {
  if (!mask_shows(call->caller.role, PART_IDENTITY)) {
    *ret = json_null();
    return 0;
  }
  return dicom_list(call->api->store, study, gets_whole(call->caller.role), ret);
}
