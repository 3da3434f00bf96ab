/* Meetings of a GP and a nurse who work under a protocol (réunion de concertation): what there is to talk about of
 * their follow-ups, and the minutes, which are kept for ever. Whoever was there reads the minutes, and nobody else.
 * Writing runs inside the caller's act. */
#ifndef ASALEED_MEETING_H
#define ASALEED_MEETING_H

#include "conf.h"
#include "people.h"

#define MEETING_MINUTE_MAX 20000
#define MEETING_ITEM_MAX 4000 /* of one follow-up's minute */
#define MEETING_ITEMS_MAX 100

struct agenda_page {
  const char *gp, *nurse; /* RPPS numbers; NULL: the caller's own */
  const char *since;      /* "YYYY-MM-DD"; NULL: the day of their last meeting, or the beginning */
  int64_t after;          /* the follow-up that the last page ended with, 0 = none */
  int limit;
};

/* The open follow-ups of the two, {"gp","items":[{"followup","notices":[{"at","id","kind","study"}..],"patient":{..},
 * "protocol","recalls":[..],"studies":[..]}..],"last":{"held","id"}|null,"next","nurse","since"}. Studies: those that
 * wait to be read or are being read, and those that were returned or signed since that day: {"accepted","act","due",
 * "id","overdue","returned":{..}|null,"signed","state","urgent"}, and of a signed one "interpretation" with as much of
 * it as the caller gets (mask.h). Recalls: the overdue ones (recall.h). Notices: those that nobody has heard.
 * P_forbidden for a third person, P_professional_unknown for an account without a number, P_invalid_field and
 * *ret_field. */
enum problem meeting_agenda(struct store *s, const struct conf *conf, const struct caller *c,
                            const struct agenda_page *page, const char **ret_field, json_t **ret);

struct meeting_item {
  int64_t followup;
  const char *minute;
};

struct meeting {
  const char *gp, *nurse; /* NULL: the caller's own */
  const char *held;       /* "YYYY-MM-DD", today at the latest */
  const char *minute;     /* texts are clean (json_is_clean()) and of at most the lengths above */
  const struct meeting_item *items;
  size_t n;
};

/* As above; P_not_found and *ret_at for a follow-up that is not and was not theirs, P_invalid_field for one that is
 * named twice. */
enum problem meeting_add(struct store *s, const struct caller *c, const struct meeting *m, const char **ret_field,
                         size_t *ret_at, int64_t *ret_id);

/* Without texts, newest first, below `before`: the caller's own, an administrator's all. [{"at","by","followups":N,
 * "gp","held","id","nurse"}..] */
int meeting_list(struct store *s, const struct caller *c, int64_t before, int limit, json_t **ret);

/* With the texts, for who was there; P_not_found for others. "followups":[{"followup","minute","patient":{..}}..] are
 * those whose patient the caller may know of today. */
enum problem meeting_get(struct store *s, const struct caller *c, int64_t id, json_t **ret);

#endif
