#include "mask.h"

#include <string.h>

/* The policy. Acquisition is the nurse's, interpretation the reader's; the practice software receives what was
 * signed; the administrator looks after instruments and sees neither names nor conclusions. */
static const struct {
  enum role role;
  bool shows[PARTS];
} policy[] = {
    {ROLE_NURSE, {[PART_IDENTITY] = true, [PART_ACQUIRED] = true}},
    {ROLE_GP,
     {[PART_IDENTITY] = true,
      [PART_ACQUIRED] = true,
      [PART_DEVICE] = true,
      [PART_STATEMENTS] = true,
      [PART_DERIVED] = true,
      [PART_INTERPRETATION] = true}},
    {ROLE_ADMIN, {[PART_ACQUIRED] = true, [PART_DEVICE] = true}},
    {ROLE_LGC, {[PART_IDENTITY] = true, [PART_ACQUIRED] = true, [PART_INTERPRETATION] = true}},
};

bool mask_shows(enum role role, enum part part) {
  for (size_t i = 0; i < sizeof policy / sizeof *policy; i++)
    if (policy[i].role == role)
      return policy[i].shows[part];
  return false;
}

/* Which members of a record belong to which part; a member that is not listed here is shown to nobody. */
static const struct {
  const char *member;
  enum part part;
} members[] = {
    {"acquired", PART_ACQUIRED}, {"complete", PART_ACQUIRED},     {"device", PART_DEVICE},
    {"driver", PART_ACQUIRED},   {"end", PART_ACQUIRED},          {"integrity", PART_ACQUIRED},
    {"modality", PART_ACQUIRED}, {"quality", PART_ACQUIRED},      {"schema", PART_ACQUIRED},
    {"started", PART_ACQUIRED},  {"statements", PART_STATEMENTS}, {"derived", PART_DERIVED},
    {"stray", PART_ACQUIRED},    {"sources", PART_STATEMENTS},    {"subject", PART_IDENTITY},
};

json_t *mask_record(const json_t *record, enum role role) {
  json_t *shown = json_object();
  for (size_t i = 0; shown && i < sizeof members / sizeof *members; i++) {
    json_t *value = json_object_get(record, members[i].member);
    if (value && mask_shows(role, members[i].part) && json_object_set(shown, members[i].member, value) < 0) {
      json_decref(shown);
      return NULL;
    }
  }
  return shown;
}

json_t *mask_assessment(const json_t *assessment, enum role role) {
  if (!mask_shows(role, PART_ACQUIRED))
    return json_null();
  json_t *shown = json_deep_copy(assessment);
  size_t i;
  json_t *phase;
  json_array_foreach(json_object_get(shown, "phases"), i, phase) {
    if (!mask_shows(role, PART_DERIVED))
      json_object_del(phase, "reader");
  }
  return shown;
}
