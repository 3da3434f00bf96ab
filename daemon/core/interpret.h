/* What a reader does with a claimed study besides giving it back: drafts, signs, amends, returns it to be made again,
 * refers it to the other reader role. Interpretations are versions that are never changed, each with a signature by
 * the reader's own key over what proof.h says. Writing runs inside the caller's act. */
#ifndef ASALEED_INTERPRET_H
#define ASALEED_INTERPRET_H

#include "artefact.h"
#include "mask.h"
#include "worklist.h"

#define REPORT_MAX 20000
#define INTERPRET_REASON_MAX 500

struct conclusion {
  const char *conclusion; /* findings.h */
  const json_t *findings; /* an object, or NULL = none */
  const char *text;
};

/* What a signature will cover besides the conclusion, as it is now: the patient's traits, the records that stand, which
 * eye and field the pictures are, the aids. The SHA-256 of all that, which a screen that showed it sends back. */
enum problem interpret_shown(struct store *s, const struct study *study, const json_t *aids,
                             char ret[static HASH_TEXT]);

/* P_precondition_failed when `shown` is not what interpret_shown() says now; P_invalid_field and *ret_field when
 * findings_check() refuses it; P_professional_unknown when the account is no registered professional's. aids: what the
 * reader is shown beside the reading, or NULL. */
enum problem interpret_sign(struct store *s, const struct caller *c, struct study *study, const char *token,
                            const char *shown, const struct conclusion *x, const json_t *aids, const char **ret_field);
/* The version after `version`, which must be the newest (P_precondition_failed). */
enum problem interpret_amend(struct store *s, const struct caller *c, struct study *study, int64_t version,
                             const char *reason, const char *shown, const struct conclusion *x, const json_t *aids,
                             const char **ret_field);
/* The report as it would stand: {"body","covers"}. */
enum problem interpret_preview(struct store *s, const struct study *study, const struct conclusion *x,
                               const json_t *aids, const char **ret_field, json_t **ret);

/* Reasons of DICOM CID 9303 (interpretation request discontinuation), with a French label. NULL ends them. */
struct interpret_reason {
  const char *code, *label;
};
extern const struct interpret_reason interpret_reasons[];
/* The study ends as returned; another of the same order repeats it; its nurse is told. P_invalid_field: the code. */
enum problem interpret_return(struct store *s, const struct caller *c, struct study *study, const char *token,
                              const char *code, const char *text, int64_t *ret_repeat);
/* To "gp" or "ophthalmologist"; token NULL: a GP does so from the queue. P_invalid_field: it is theirs already.
 * P_reader_missing: nobody has an account of that role. */
enum problem interpret_refer(struct store *s, const struct caller *c, struct study *study, const char *token,
                             const char *reader, const char *text);

/* A reader's draft of a study is that reader's alone, and outlives the claim. json: canonical. if_match: as of
 * patient_put(). */
enum problem interpret_draft_save(struct store *s, const struct caller *c, const struct study *study, int64_t if_match,
                                  const char *json, int64_t *ret_version);
enum problem interpret_draft(struct store *s, const struct caller *c, const struct study *study, json_t **ret,
                             int64_t *ret_version);

/* The newest version that stands, or NULL; less what the view does not get. */
int interpret_json(struct store *s, int64_t study, const struct view *v, json_t **ret);
/* Every version, with why each was made and whether it was withdrawn. */
int interpret_versions(struct store *s, int64_t study, json_t **ret);
/* All that proof_verify() asks for. P_artefact_corrupt when a record that was signed is damaged. */
enum problem interpret_proof(struct store *s, struct artefacts *a, const struct study *study, json_t **ret);
/* Where it was returned or referred: {"referrals":[..],"returned":{..}|null}: the first, and texts, only when the
 * view gets reports. */
int interpret_course(struct store *s, int64_t study, const struct view *v, json_t **ret);

#endif
