#include "mask.h"

#include <string.h>

/* When a role gets a part. What the protocol decides is about the nurse alone. */
enum when {
  NEVER,
  ALWAYS,
  IF_ACQUIRED,   /* the protocol shows the nurse what she acquired, not its quality alone */
  IF_SIGNED,     /* the practice software */
  IF_CONCLUSION, /* signed, and the protocol shows her the conclusion */
  IF_REPORT,     /* signed, and the protocol shows her all of it */
};

/* The policy. Acquisition is the nurse's, interpretation the reader's; the practice software receives what was
 * signed; the administrator looks after instruments and sees neither names nor conclusions, the auditor nothing of
 * anybody's health. */
static const struct {
  enum role role;
  enum when when[PARTS];
} policy[] = {
    {ROLE_NURSE,
     {[PART_IDENTITY] = ALWAYS,
      [PART_QUALITY] = ALWAYS,
      [PART_ACQUIRED] = IF_ACQUIRED,
      [PART_CONCLUSION] = IF_CONCLUSION,
      [PART_REPORT] = IF_REPORT}},
    {ROLE_GP,
     {[PART_IDENTITY] = ALWAYS,
      [PART_QUALITY] = ALWAYS,
      [PART_ACQUIRED] = ALWAYS,
      [PART_DEVICE] = ALWAYS,
      [PART_STATEMENTS] = ALWAYS,
      [PART_DERIVED] = ALWAYS,
      [PART_CONCLUSION] = ALWAYS,
      [PART_REPORT] = ALWAYS}},
    {ROLE_OPHTHALMOLOGIST,
     {[PART_IDENTITY] = ALWAYS,
      [PART_QUALITY] = ALWAYS,
      [PART_ACQUIRED] = ALWAYS,
      [PART_DEVICE] = ALWAYS,
      [PART_STATEMENTS] = ALWAYS,
      [PART_DERIVED] = ALWAYS,
      [PART_CONCLUSION] = ALWAYS,
      [PART_REPORT] = ALWAYS}},
    {ROLE_ADMIN, {[PART_QUALITY] = ALWAYS, [PART_ACQUIRED] = ALWAYS, [PART_DEVICE] = ALWAYS}},
    {ROLE_LGC,
     {[PART_IDENTITY] = ALWAYS,
      [PART_QUALITY] = ALWAYS,
      [PART_ACQUIRED] = ALWAYS,
      [PART_CONCLUSION] = IF_SIGNED,
      [PART_REPORT] = IF_SIGNED}},
    {ROLE_AUDITOR, {NEVER}},
};

struct view view_of(enum role role) {
  return (struct view){.role = role, .before = CONF_SEES_ACQUIRED, .after = CONF_SEES_NOTHING};
}

struct view view_of_any(enum role role, const struct conf *conf, enum acq_modality act) {
  struct view v = view_of(role);
  for (unsigned i = 0; i < conf->n_protocols; i++) {
    const struct conf_act *a = conf_act(conf->protocols[i], act);
    if (a && a->sees_before < v.before)
      v.before = a->sees_before;
  }
  return v;
}

static bool shows(const struct view *v, enum when when) {
  switch (when) {
  case ALWAYS:
    return true;
  case IF_ACQUIRED:
    return v->before == CONF_SEES_ACQUIRED;
  case IF_SIGNED:
    return v->is_signed;
  case IF_CONCLUSION:
    return v->is_signed && v->after >= CONF_SEES_CONCLUSION;
  case IF_REPORT:
    return v->is_signed && v->after == CONF_SEES_REPORT;
  default:
    return false;
  }
}

bool mask_shows(const struct view *v, enum part part) {
  for (size_t i = 0; i < sizeof policy / sizeof *policy; i++)
    if (policy[i].role == v->role)
      return shows(v, policy[i].when[part]);
  return false;
}

/* Which members of a record belong to which part; a member that is not listed here is shown to nobody. */
static const struct {
  const char *member;
  enum part part;
} members[] = {
    {"acquired", PART_ACQUIRED}, {"complete", PART_QUALITY},      {"device", PART_DEVICE},
    {"driver", PART_QUALITY},    {"end", PART_QUALITY},           {"integrity", PART_QUALITY},
    {"modality", PART_QUALITY},  {"quality", PART_QUALITY},       {"schema", PART_QUALITY},
    {"started", PART_QUALITY},   {"statements", PART_STATEMENTS}, {"derived", PART_DERIVED},
    {"stray", PART_QUALITY},     {"sources", PART_STATEMENTS},    {"subject", PART_IDENTITY},
};

/* What was acquired, without the hashes of the camera's files: they cover the texts that it wrote into them. */
static int less_hashes(json_t *shown) {
  json_t *acquired = json_object_get(shown, "acquired"), *picture;
  size_t i;
  if (!json_array_size(json_object_get(acquired, "pictures")))
    return 0;
  acquired = json_deep_copy(acquired);
  json_array_foreach(json_object_get(acquired, "pictures"), i, picture) {
    json_object_del(picture, "sha256");
  }
  return json_object_set_new(shown, "acquired", acquired);
}

json_t *mask_record(const json_t *record, const struct view *v) {
  json_t *shown = json_object();
  for (size_t i = 0; shown && i < sizeof members / sizeof *members; i++) {
    json_t *value = json_object_get(record, members[i].member);
    if (value && mask_shows(v, members[i].part) && json_object_set(shown, members[i].member, value) < 0) {
      json_decref(shown);
      return NULL;
    }
  }
  if (shown && !mask_shows(v, PART_STATEMENTS) && less_hashes(shown) < 0) {
    json_decref(shown);
    return NULL;
  }
  return shown;
}

json_t *mask_assessment(const json_t *assessment, const struct view *v) {
  if (!mask_shows(v, PART_ACQUIRED))
    return json_null();
  json_t *shown = json_deep_copy(assessment);
  size_t i;
  json_t *phase;
  json_array_foreach(json_object_get(shown, "phases"), i, phase) {
    if (!mask_shows(v, PART_DERIVED))
      json_object_del(phase, "reader");
  }
  return shown;
}
