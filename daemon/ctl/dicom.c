/* A record's DICOM object, into a file. */
#include "ctl.h"

#include <errno.h>
#include <string.h>

/* What makes a file one of DICOM (PS3.10, 7.1): 128 bytes that say nothing, then its name. */
static bool is_dicom(const struct buf *b) {
  return b->len > 132 && !memcmp(b->data + 128, "DICM", 4);
}

int cmd_dicom(struct ctl *c) {
  const char *path = ctl_option(c, "out");
  char target[128];
  int n = snprintf(target, sizeof target, "/v1/records/%s/dicom", c->args[0]);
  if (c->args[1])
    snprintf(target + n, sizeof target - (size_t)n, "?n=%s", c->args[1]);
  int r = ctl_may_write(c, path);
  if (r != CTL_OK)
    return r;
  struct api_request request = {.method = "GET", .target = target, .bytes = "application/dicom"};
  _answer_cleanup_ struct api_answer a = {0};
  r = api_call(c, &request, &a);
  if (r != CTL_OK)
    return r;
  if (!is_dicom(&a.body))
    return api_unreached(c, -EPROTO, false);
  r = ctl_write(c, path, a.body.data, a.body.len);
  if (r == CTL_OK && strcmp(path, "-") && !c->json)
    print_field(c->out, "Objet DICOM dans", path);
  return r;
}
