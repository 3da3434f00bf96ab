/* What somebody must be told, once, until somebody says that it was heard: the nurse calls the GP, a study is due or
 * overdue, was returned, a delegation ends soon. A notice is for one professional, or for every GP of the practice
 * (no recipient). Writing runs inside the caller's act. */
#ifndef ASALEED_NOTICE_H
#define ASALEED_NOTICE_H

#include "worklist.h"

/* "Symptomatic: call the GP now": the study is urgent, and the GP of the follow-up (or who stands in) is paged. The
 * nurse's word alone does this, never the instrument's. P_wrong_state once it is interpreted. *ret_id names it. */
enum problem notice_page(struct store *s, const struct caller *c, struct study *study, const char *text,
                         int64_t *ret_id);

/* A study that is urgent and that nobody was called for yet, as one that repeats an urgent one: its reader is paged. */
enum problem notice_urgent(struct store *s, const struct caller *c, const struct study *study);

/* The nurse of the follow-up learns that the study came back; every GP when nurse is "", as she can be told no more. */
enum problem notice_returned(struct store *s, const struct caller *c, const struct study *study, const char *nurse,
                             const char *text);

/* Another nurse has the follow-up: what nobody has heard yet of studies that came back is for her, or for every GP
 * where she has no account. */
int notice_pass_on(struct store *s, int64_t followup, const char *from, const char *to);

/* It was heard: by its recipient, or by any GP when it is for all. P_not_found for others. *ret_study: what it is
 * about, 0 = no study. */
enum problem notice_acknowledge(struct store *s, const struct caller *c, int64_t id, int64_t *ret_study);

/* The calls for a study, oldest first: [{"at","by","heard":{"at","by"}|null,"text"}]; the texts, which are about the
 * patient, only if asked for. */
int notice_pages(struct store *s, int64_t study, bool texts, json_t **ret);

/* A page of those for the caller: what is open first, and of that the calls; the newest first. {"at","by","delegation",
 * "heard":{"at","by"}|null,"id","kind","study","text"}. cursor: "", or what the last page gave (P_invalid_field
 * otherwise); ret_next, which may be where
 * that was, "" when there are no more. */
#define NOTICE_CURSOR_MAX 32
enum problem notice_list(struct store *s, const struct caller *c, const char *cursor, int limit, json_t **ret,
                         char ret_next[static NOTICE_CURSOR_MAX]);

/* Makes those whose time has come: pages that nobody heard go to every GP; studies that are soon due, to their reader
 * (those of the ophthalmologist to the follow-up's GP, who sent them); overdue ones, to every GP; delegations that end
 * within 60 days, to nurse and GP. `made` learns of each notice. Returns when to look again (microseconds; not after
 * `now` when there are more than it makes in one go) or a negative errno. */
int64_t notice_due(struct store *s, const struct conf *conf, int64_t now, void (*made)(void *arg, int64_t notice),
                   void *arg);

#endif
