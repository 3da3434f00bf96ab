/* The structured part of an interpretation: for each act the fields and choices of findings.def.
 *
 *   {"rhythm":"sinus","signs":["rbbb","long_qt"]}
 *
 * A field of which one is chosen is a text, one of which many are is a list of texts, which may be empty. A field that
 * is not said is absent. */
#ifndef ASALEED_FINDINGS_H
#define ASALEED_FINDINGS_H

#include "buf.h"
#include "json.h"
#include <asalee/driver.h>

/* "normal", "abnormal", "uninterpretable" */
bool findings_is_conclusion(const char *conclusion);

/* Whether the findings (NULL and null are as {}) are those of the act and go with the conclusion. -EINVAL: *ret_field
 * says which one is unknown, missing, has a choice that is unknown or there twice, or contradicts the conclusion;
 * "conclusion" and "findings" when these themselves are none. The text lives as long as the findings. An
 * uninterpretable recording needs no field. */
int findings_check(enum acq_modality act, const char *conclusion, const json_t *findings, const char **ret_field);

/* What there is to choose, in the order in which it is shown; NULL without memory:
 * {"act","conclusions":[{"code","label"}...],
 *  "fields":[{"choices":[{"code","excludes_normal":bool,"label","snomed":"<SNOMED CT>"|null}...],
 *             "code","label","many":bool,"required":bool}...]} */
json_t *findings_form(enum acq_modality act);

/* Appends the report's body, French: a line for the conclusion and one for each field that is said, in the form's order
 * whatever that of the findings; then, after an empty line, the text, unless it is empty. Each line ends with a line
 * feed. -EINVAL for findings that findings_check() refuses or a text that is not clean (json_is_clean()), with nothing
 * appended; else the buffer's error. */
int findings_report(enum acq_modality act, const char *conclusion, const json_t *findings, const char *text,
                    struct buf *b);

#endif
