/* Comprehensive SR Storage of measured values (DICOM PS3.3 A.35.3): no template or IOD of spirometry exists. Each trial
 * is a container with its time and phase. Values that an instrument predicts or remembers are not measured: they are
 * statements. */
#include "encode.h"
#include "tags.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OURS "99ASALEED"

static struct dicom_item put_content(struct dicom_item at, const char *relationship, const char *type,
                                     struct code name) {
  struct dicom_item item = dicom_add(at, CONTENT);
  dicom_text(item, RELATIONSHIP, relationship);
  dicom_text(item, VALUE_TYPE, type);
  encode_code(item, CONCEPT_NAME, name);
  return item;
}

static void put_text(struct dicom_item at, struct code name, const char *text) {
  dicom_text(put_content(at, "CONTAINS", "TEXT", name), TEXT_VALUE, text);
}

static bool put_number(struct dicom_item at, struct code name, struct dec value, const char *ucum) {
  struct dicom_item measured = dicom_add(put_content(at, "CONTAINS", "NUM", name), MEASURED_VALUE);
  encode_code(measured, UNITS_CODE, (struct code){ucum, "UCUM", strcmp(ucum, "1") ? ucum : "no units"});
  return encode_decimal(measured, NUMERIC_VALUE, value);
}

static int put_measure(struct dicom_item at, const json_t *m, char reason[static 256]) {
  const struct nomenclature *row = nomenclature_find(json_text(m, "code"));
  struct dec value = {0};
  char mdc[16];
  snprintf(mdc, sizeof mdc, "%u:%u", row->mdc >> 16, row->mdc & 0xFFFF);
  struct code name = *row->loinc ? (struct code){row->loinc, "LN", row->label}
                     : row->mdc  ? (struct code){mdc, "MDC", row->label}
                                 : (struct code){row->code, OURS, row->label};
  if (dec_parse(json_text(m, "value"), &value) < 0 || !put_number(at, name, value, json_text(m, "unit")))
    return encode_refuse(reason, "a value has more digits than DICOM takes");
  return 0;
}

static bool is_of(const json_t *item, int64_t trial) {
  return json_integer_value(json_object_get(item, "trial")) == trial;
}

/* What the record says of one trial, or with 0 of the whole. */
static int put_trial(const struct encode_input *in, int64_t number, struct dicom_item at, char reason[static 256]) {
  static const struct {
    const char *list;
    struct code name;
    bool reader;
  } texts[] = {{"quality", {"quality", OURS, "Technical quality"}, false},
               {"statements", {"statement", OURS, "Statement of the instrument"}, true}};
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(json_object_get(in->record, "acquired"), "measures"), i, item) {
    int r = is_of(item, number) ? put_measure(at, item, reason) : 0;
    if (r < 0)
      return r;
  }
  for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
    if (texts[k].reader && !in->job->statements)
      continue;
    json_array_foreach(json_object_get(in->record, texts[k].list), i, item) {
      if (is_of(item, number) && *json_text(item, "text"))
        put_text(at, texts[k].name, json_text(item, "text"));
    }
  }
  return 0;
}

static int put_trials(const struct encode_input *in, struct dicom_item root, char reason[static 256]) {
  static const struct {
    const char *phase, *code, *meaning;
  } phases[] = {{"baseline", "phase_baseline", "Baseline"},
                {"pre", "phase_pre", "Before bronchodilator"},
                {"post", "phase_post", "After bronchodilator"}};
  size_t i;
  json_t *t;
  json_array_foreach(json_object_get(json_object_get(in->record, "acquired"), "trials"), i, t) {
    const char *phase = json_text(t, "phase");
    const int64_t number = json_integer_value(json_object_get(t, "number"));
    struct dicom_item trial = put_content(root, "CONTAINS", "CONTAINER", (struct code){"trial", OURS, "Trial"});
    dicom_text(trial, CONTINUITY, "SEPARATE");
    put_number(trial, (struct code){"trial_number", OURS, "Trial number"}, (struct dec){(int32_t)number, 0}, "1");
    if (json_text(t, "time"))
      encode_datetime(
          put_content(trial, "HAS OBS CONTEXT", "DATETIME", (struct code){"111526", "DCM", "DateTime Started"}),
          CONTENT_DATETIME, encode_when(in, number));
    for (size_t k = 0; k < sizeof phases / sizeof *phases; k++)
      if (phase && !strcmp(phase, phases[k].phase))
        encode_code(put_content(trial, "CONTAINS", "CODE", (struct code){"phase", OURS, "Phase"}), CONCEPT_CODE,
                    (struct code){phases[k].code, OURS, phases[k].meaning});
    int r = put_trial(in, number, trial, reason);
    if (r < 0)
      return r;
  }
  return 0;
}

int encode_measures(const struct encode_input *in, struct dicom_item root, char reason[static 256]) {
  if (!json_array_size(json_object_get(json_object_get(in->record, "acquired"), "measures")))
    return encode_refuse(reason, "the record holds no measured value");
  dicom_text(root, SOP_CLASS_UID, COMPREHENSIVE_SR);
  dicom_text(root, MODALITY, "SR");
  encode_date_time(root, CONTENT_DATE, CONTENT_TIME, encode_when(in, 0));
  struct dicom_item scheme = dicom_add(root, CODING_SCHEME_IDENTIFICATION);
  dicom_text(scheme, CODING_SCHEME, OURS);
  dicom_text(scheme, CODING_SCHEME_NAME, "asaleed nomenclature");
  dicom_none(root, REFERENCED_STEP);
  dicom_none(root, PERFORMED_PROCEDURE_CODE);
  dicom_text(root, COMPLETION_FLAG, "COMPLETE");
  dicom_text(root, VERIFICATION_FLAG, "UNVERIFIED");
  dicom_text(root, VALUE_TYPE, "CONTAINER");
  dicom_text(root, CONTINUITY, "SEPARATE");
  encode_code(root, CONCEPT_NAME,
              in->job->act == ACQ_SPIROMETRY ? (struct code){"spirometry", OURS, "Spirometry: measured values"}
                                             : (struct code){"measurement", OURS, "Measured values"});
  encode_code(put_content(root, "HAS CONCEPT MOD", "CODE",
                          (struct code){"121049", "DCM", "Language of Content Item and Descendants"}),
              CONCEPT_CODE, (struct code){"fr", "RFC5646", "French"});
  int r = put_trial(in, 0, root, reason);
  return r < 0 ? r : put_trials(in, root, reason);
}
