/* The site's protocols, professionals, delegations and absences; what an account may. */
#include "api.h"

#include "identifier.h"
#include "registry.h"
#include "str.h"
#include <string.h>

static enum problem answer_list(struct api_call *call, int r, json_t *items) {
  if (r < 0)
    return problem_of_errno(r);
  call->answer = api_list(items, NULL);
  return call->answer ? P_OK : P_overloaded;
}

/* ---- protocols ---- */

static json_t *act_json(const struct conf_act *a) {
  static const char *const before[] = {"quality", "acquired"}, *const after[] = {"nothing", "conclusion", "report"};
  return json_pack("{s:s, s:I, s:s, s:s, s:b, s:b, s:s, s:I}", "authorisation", a->authorisation, "delay_hours",
                   (json_int_t)a->delay_hours, "nurse_sees_after", after[a->sees_after], "nurse_sees_before",
                   before[a->sees_before], "perform", a->perform, "prescribe", a->prescribe, "reader",
                   a->reader == CONF_READER_OPHTHALMOLOGIST ? "ophthalmologist" : "gp", "recall_months",
                   (json_int_t)a->recall_months);
}

enum problem api_protocols(struct api_call *call) {
  json_t *items = json_array();
  for (unsigned i = 0; i < call->api->conf->n_protocols; i++) {
    const struct conf_protocol *p = call->api->conf->protocols[i];
    json_t *acts = json_object();
    for (int m = ACQ_ECG; m <= ACQ_MEASUREMENT; m++) {
      const struct conf_act *a = conf_act(p, (enum acq_modality)m);
      if (a)
        json_object_set_new(acts, acq_modality_name((enum acq_modality)m), act_json(a));
    }
    json_array_append_new(items, json_pack("{s:o, s:s, s:s, s:s}", "acts", acts, "authorisation", p->authorisation,
                                           "id", p->id, "label", p->label));
  }
  return answer_list(call, 0, items);
}

/* ---- professionals ---- */

static enum problem take_line(struct api_call *call, const char *name, size_t size, char *field) {
  const char *text;
  enum problem p = api_text(call, name, size - 1, true, &text);
  return p != P_OK ? p : str_is_clean_utf8(text, strlen(text)) && str_copy(field, size, text) ? P_OK : P_invalid_field;
}

static json_t *professional_json(const struct professional *p) {
  return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "family", p->family, "finess", p->finess, "given", p->given,
                   "role", role_name(p->role), "rpps", p->rpps, "version", (json_int_t)p->version);
}

enum problem api_professionals(struct api_call *call) {
  json_t *items = NULL;
  int r = registry_professionals(call->api->store, &items);
  return answer_list(call, r, items);
}

enum problem api_professional_get(struct api_call *call) {
  struct professional p;
  enum problem found = registry_professional(call->api->store, call->id, &p);
  if (found == P_OK)
    call->answer = professional_json(&p);
  return found == P_OK && !call->answer ? P_overloaded : found;
}

enum problem api_professional_put(struct api_call *call) {
  struct professional x = {0};
  const char *role;
  bool created;
  struct actor by = caller_actor(&call->caller);
  enum problem p = take_line(call, "family", sizeof x.family, x.family);
  if (p == P_OK)
    p = take_line(call, "given", sizeof x.given, x.given);
  if (p == P_OK)
    p = take_line(call, "finess", sizeof x.finess, x.finess);
  if (p == P_OK && !finess_is_valid(x.finess))
    p = P_invalid_field;
  if (p == P_OK)
    p = api_text(call, "role", 16, true, &role);
  if (p == P_OK && (!role_find(role, &x.role) || !(x.role & ROLE_CARERS)))
    p = P_invalid_field;
  if (p == P_OK && (call->field = "rpps", !rpps_is_valid(call->id) || !str_copy(x.rpps, sizeof x.rpps, call->id)))
    p = P_invalid_field;
  if (p == P_OK) {
    call->field = "role";
    p = registry_professional_put(call->api->store, &by, &x, &created);
  }
  if (p != P_OK)
    return p;
  call->status = created ? 201 : 200;
  call->answer = professional_json(&x);
  return call->answer ? P_OK : P_overloaded;
}

/* ---- delegations ---- */

enum problem api_delegations(struct api_call *call) {
  json_t *items = NULL;
  const char *rpps = http_query(call->http, "rpps");
  int r = registry_delegations(call->api->store, rpps, &items);
  return answer_list(call, r, items);
}

enum problem api_delegation_add(struct api_call *call) {
  struct delegation d;
  int64_t id;
  char ref[STR_REF_MAX];
  const char *const *fields[] = {&d.nurse, &d.gp,    &d.protocol,       &d.authorisation, &d.authorised,
                                 &d.from,  &d.until, &d.nurse_adhesion, &d.gp_adhesion};
  static const char *const names[] = {"nurse", "gp",    "protocol",       "authorisation", "authorised",
                                      "from",  "until", "nurse_adhesion", "gp_adhesion"};
  enum problem p = P_OK;
  for (size_t i = 0; i < sizeof names / sizeof *names && p == P_OK; i++)
    p = api_text(call, names[i], i == 3 ? REGISTRY_TEXT_MAX : PROTOCOL_ID_MAX, true, (const char **)fields[i]);
  if (p == P_OK && !conf_protocol(call->api->conf, d.protocol))
    p = P_protocol_unknown;
  if (p == P_OK && (call->field = "authorisation", !str_is_clean_utf8(d.authorisation, strlen(d.authorisation))))
    p = P_invalid_field;
  struct actor by = caller_actor(&call->caller);
  if (p == P_OK)
    p = registry_delegate(call->api->store, &by, &d, &id, &call->field);
  if (p != P_OK)
    return p;
  str_ref('D', id, ref);
  call->status = 201;
  call->answer = json_pack("{s:s}", "id", ref);
  return call->answer ? P_OK : P_overloaded;
}

enum problem api_delegation_end(struct api_call *call) {
  const char *reason;
  int64_t id;
  struct actor by = caller_actor(&call->caller);
  enum problem p =
      api_id(call->id, 'D', &id) ? api_text(call, "reason", REGISTRY_TEXT_MAX, true, &reason) : P_not_found;
  if (p == P_OK)
    p = registry_delegation_end(call->api->store, &by, id, reason);
  if (p == P_OK)
    call->answer = json_pack("{s:s, s:b}", "id", call->id, "ended", 1);
  return p == P_OK && !call->answer ? P_overloaded : p;
}

/* ---- absences ---- */

enum problem api_absences(struct api_call *call) {
  json_t *items = NULL;
  int r = registry_absences(call->api->store, &items);
  return answer_list(call, r, items);
}

/* A GP says when he himself is away; the administrator may for any. */
enum problem api_absence_add(struct api_call *call) {
  const char *gp, *deputy, *first, *last;
  int64_t id;
  char ref[STR_REF_MAX];
  struct actor by = caller_actor(&call->caller);
  enum problem p = api_text(call, "deputy", RPPS_MAX, true, &deputy);
  if (p == P_OK)
    p = api_text(call, "first", WALL_DATE_MAX, true, &first);
  if (p == P_OK)
    p = api_text(call, "last", WALL_DATE_MAX, true, &last);
  if (p == P_OK)
    p = api_text(call, "gp", RPPS_MAX, call->caller.role == ROLE_ADMIN, &gp);
  if (p == P_OK && !gp)
    gp = call->caller.rpps;
  if (p == P_OK && call->caller.role != ROLE_ADMIN && strcmp(gp, call->caller.rpps))
    p = P_forbidden;
  if (p == P_OK)
    p = registry_absence(call->api->store, &by, gp, deputy, first, last, &id, &call->field);
  if (p != P_OK)
    return p;
  str_ref('A', id, ref);
  call->status = 201;
  call->answer = json_pack("{s:s}", "id", ref);
  return call->answer ? P_OK : P_overloaded;
}

enum problem api_absence_end(struct api_call *call) {
  int64_t id;
  struct actor by = caller_actor(&call->caller);
  enum problem p = api_id(call->id, 'A', &id) ? P_OK : P_not_found;
  if (p == P_OK && call->caller.role != ROLE_ADMIN) {
    struct rows r =
        store_query(call->api->store, "SELECT 1 FROM absence WHERE id = ? AND gp = ?", "it", id, call->caller.rpps);
    p = rows_next(&r) ? P_OK : P_not_found;
    int err = rows_finish(&r);
    p = err < 0 ? problem_of_errno(err) : p;
  }
  if (p == P_OK)
    p = registry_absence_end(call->api->store, &by, id);
  if (p == P_OK)
    call->answer = json_pack("{s:s, s:b}", "id", call->id, "ended", 1);
  return p == P_OK && !call->answer ? P_overloaded : p;
}

/* ---- accounts ---- */

enum problem api_user_link(struct api_call *call) {
  const char *rpps;
  struct actor by = caller_actor(&call->caller);
  enum problem p = api_text(call, "rpps", RPPS_MAX, true, &rpps);
  if (p == P_OK)
    p = people_link(call->api->store, &by, call->id, rpps);
  if (p == P_OK)
    call->answer = json_pack("{s:s, s:s}", "name", call->id, "rpps", rpps);
  return p == P_OK && !call->answer ? P_overloaded : p;
}

static enum problem grant(struct api_call *call, bool may) {
  const char *person;
  struct actor by = caller_actor(&call->caller);
  enum problem p = api_text(call, "person", PERSON_NAME_MAX - 1, true, &person);
  if (p == P_OK)
    p = people_grant(call->api->store, &by, call->id, person, may);
  if (p == P_OK)
    call->answer = json_pack("{s:b, s:s, s:s}", "may", may, "name", call->id, "person", person);
  return p == P_OK && !call->answer ? P_overloaded : p;
}

enum problem api_user_grant(struct api_call *call) {
  return grant(call, true);
}

enum problem api_user_revoke(struct api_call *call) {
  return grant(call, false);
}
