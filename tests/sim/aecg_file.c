#include "aecg_file.h"

#include <errno.h>

#define ACT_CODE "2.16.840.1.113883.5.4"
#define MDC "2.16.840.1.113883.6.24"
#define DAMAGED_LEAD ECG12_V3
#define DAMAGED_SAMPLE 7

const char *const aecg_damage_names[AECG_DAMAGES] = {
    [AECG_WHOLE] = "none",
    [AECG_ENTITY_BOMB] = "entity-bomb",
    [AECG_EXTERNAL_ENTITY] = "external-entity",
    [AECG_TRUNCATED] = "truncated",
    [AECG_WRONG_CLOSING_TAG] = "wrong-closing-tag",
    [AECG_DIGIT_OUT_OF_RANGE] = "digit-out-of-range",
    [AECG_DIGIT_NOT_INTEGER] = "digit-not-integer",
    [AECG_DIGIT_NO_NUMBER] = "digit-no-number",
    [AECG_UNKNOWN_LEAD] = "unknown-lead",
    [AECG_UNKNOWN_UNIT] = "unknown-unit",
    [AECG_NO_INCREMENT] = "no-increment",
    [AECG_NO_SCALE] = "no-scale",
    [AECG_SHORT_LEAD] = "short-lead",
    [AECG_LEAD_TWICE] = "lead-twice",
    [AECG_NO_DIGITS] = "no-digits",
};

static void put_code(struct buf *b, const char *code, const char *system) {
  buf_format(b, "<code code=\"%s\" codeSystem=\"%s\"/>\n", code, system);
}

/* more_s later, but not past midnight: no calendar is needed. */
static void put_time(struct buf *b, const struct aecg_file *f, const char *element, unsigned more_s) {
  struct file_clock t = f->facts.at;
  if (t.year == 0)
    return;
  if (more_s > 0) {
    unsigned s = t.hour * 3600 + t.minute * 60 + t.second + more_s;
    s = s < 86399 ? s : 86399;
    t.hour = s / 3600;
    t.minute = s / 60 % 60;
    t.second = s % 60;
  }
  buf_format(b, "<%s value=\"%04u%02u%02u%02u%02u%02u.000%s\"/>\n", element, t.year, t.month, t.day, t.hour, t.minute,
             t.second, f->zone ? f->zone : "");
}

static void put_span(struct buf *b, const struct aecg_file *f, const struct ecg12 *e) {
  if (f->facts.at.year == 0)
    return;
  buf_text(b, "<effectiveTime>\n");
  put_time(b, f, "low", 0);
  put_time(b, f, "high", (unsigned)(e->n / e->rate_hz));
  buf_text(b, "</effectiveTime>\n");
}

/* ---- whose and what made it ---- */

static void put_subject(struct buf *b, const struct aecg_file *f) {
  const struct ecg_facts *s = &f->facts;
  buf_text(b, "<componentOf>\n<timepointEvent>\n<componentOf>\n<subjectAssignment>\n<subject>\n<trialSubject>\n");
  if (s->id) {
    buf_text(b, "<id root=\"2.16.840.1.113883.3.400\" extension=\"");
    xml_out_text(b, s->id);
    buf_text(b, "\"/>\n");
  }
  buf_text(b, "<subjectDemographicPerson>\n");
  if (f->damage == AECG_ENTITY_BOMB || f->damage == AECG_EXTERNAL_ENTITY)
    buf_text(b, "<name>&j;</name>\n");
  else if (s->last || s->first) {
    buf_text(b, "<name>");
    xml_out_element(b, "family", s->last);
    xml_out_element(b, "given", s->first);
    buf_text(b, "</name>\n");
  }
  if (s->sex)
    buf_format(b, "<administrativeGenderCode code=\"%c\" codeSystem=\"2.16.840.1.113883.5.1\"/>\n", s->sex);
  if (s->birth.year > 0)
    buf_format(b, "<birthTime value=\"%04u%02u%02u\"/>\n", s->birth.year, s->birth.month, s->birth.day);
  buf_text(b, "</subjectDemographicPerson>\n</trialSubject>\n</subject>\n"
              "<componentOf>\n<clinicalTrial>\n<id root=\"2.16.840.1.113883.3.400\" extension=\"TRIAL-1\"/>\n"
              "</clinicalTrial>\n</componentOf>\n"
              "</subjectAssignment>\n</componentOf>\n</timepointEvent>\n</componentOf>\n");
}

static void put_author(struct buf *b, const struct ecg_facts *s) {
  buf_text(b, "<author>\n<seriesAuthor>\n");
  if (s->serial) {
    buf_text(b, "<id extension=\"");
    xml_out_text(b, s->serial);
    buf_text(b, "\"/>\n");
  }
  buf_text(b, "<manufacturedSeriesDevice>\n");
  xml_out_element(b, "manufacturerModelName", s->model);
  xml_out_element(b, "softwareName", s->software);
  buf_text(b, "</manufacturedSeriesDevice>\n");
  if (s->maker) {
    buf_text(b, "<manufacturerOrganization>\n");
    xml_out_element(b, "name", s->maker);
    buf_text(b, "</manufacturerOrganization>\n");
  }
  buf_text(b, "</seriesAuthor>\n</author>\n");
}

static void put_filter(struct buf *b, const char *kind, const char *what, const char *hz) {
  buf_text(b, "<controlVariable>\n<controlVariable>\n");
  put_code(b, kind, MDC);
  buf_text(b, "<component>\n<controlVariable>\n");
  put_code(b, what, MDC);
  buf_format(b, "<value xsi:type=\"PQ\" value=\"%s\" unit=\"Hz\"/>\n</controlVariable>\n</component>\n", hz);
  buf_text(b, "</controlVariable>\n</controlVariable>\n");
}

static void put_filters(struct buf *b) {
  put_filter(b, "MDC_ECG_CTL_VBL_ATTR_FILTER_LOW_PASS", "MDC_ECG_CTL_VBL_ATTR_FILTER_CUTOFF_FREQ", "150");
  put_filter(b, "MDC_ECG_CTL_VBL_ATTR_FILTER_HIGH_PASS", "MDC_ECG_CTL_VBL_ATTR_FILTER_CUTOFF_FREQ", "0.05");
  put_filter(b, "MDC_ECG_CTL_VBL_ATTR_FILTER_NOTCH", "MDC_ECG_CTL_VBL_ATTR_FILTER_NOTCH_FREQ", "50");
}

/* ---- sequences ---- */

static void put_increment(struct buf *b, const struct aecg_file *f, unsigned rate_hz) {
  static const unsigned places[] = {[AECG_MICRO] = 3, [AECG_MILLI] = 6, [AECG_WHOLE_UNIT] = 9};
  static const char *const names[] = {[AECG_MICRO] = "us", [AECG_MILLI] = "ms", [AECG_WHOLE_UNIT] = "s"};
  if (f->damage == AECG_NO_INCREMENT)
    return;
  buf_text(b, "<increment value=\"");
  xml_out_decimal(b, 1000000000 / rate_hz, places[f->increment_unit]);
  buf_format(b, "\" unit=\"%s\"/>\n", names[f->increment_unit]);
}

static void put_time_sequence(struct buf *b, const struct aecg_file *f, unsigned rate_hz, bool relative) {
  buf_text(b, "<component>\n<sequence classCode=\"OBS\" moodCode=\"EVN\">\n");
  put_code(b, relative ? "TIME_RELATIVE" : "TIME_ABSOLUTE", ACT_CODE);
  buf_format(b, "<value xsi:type=\"%s\">\n", relative ? "GLIST_PQ" : "GLIST_TS");
  if (relative)
    buf_text(b, "<head value=\"0\" unit=\"s\"/>\n");
  else
    put_time(b, f, "head", 0);
  put_increment(b, f, rate_hz);
  buf_text(b, "</value>\n</sequence>\n</component>\n");
}

static void put_digits(struct buf *b, const struct aecg_file *f, const int16_t *v, size_t n, int origin, bool damaged) {
  const char *between = f->between ? f->between : " ";
  buf_text(b, "<digits>");
  for (size_t i = 0; i < n; i++) {
    bool here = damaged && i == DAMAGED_SAMPLE;
    if (i > 0)
      buf_text(b, between);
    if (here && f->damage == AECG_DIGIT_OUT_OF_RANGE)
      buf_text(b, "40000");
    else if (here && f->damage == AECG_DIGIT_NOT_INTEGER)
      buf_text(b, "12.5");
    else if (here && f->damage == AECG_DIGIT_NO_NUMBER)
      buf_text(b, "none");
    else
      buf_format(b, "%d", v[i] - origin);
  }
  buf_text(b, "</digits>\n");
}

static void put_scale(struct buf *b, const struct aecg_file *f, unsigned step, bool damaged) {
  static const char *const names[] = {[AECG_MICRO] = "uV", [AECG_MILLI] = "mV", [AECG_NANO] = "nV"};
  static const unsigned places[] = {[AECG_MICRO] = 3, [AECG_MILLI] = 6, [AECG_NANO] = 0};
  const char *unit = names[f->scale_unit];
  buf_text(b, "<origin value=\"");
  xml_out_decimal(b, f->origin_uv * 1000ll, places[f->scale_unit]);
  buf_format(b, "\" unit=\"%s\"/>\n", unit);
  if (damaged && f->damage == AECG_NO_SCALE)
    return;
  buf_text(b, "<scale value=\"");
  xml_out_decimal(b, step * 100ll, places[f->scale_unit]);
  buf_format(b, "\" unit=\"%s\"/>\n", damaged && f->damage == AECG_UNKNOWN_UNIT ? "mm[Hg]" : unit);
}

static void put_lead(struct buf *b, const struct aecg_file *f, enum ecg12_lead lead, const int16_t *v, size_t n) {
  static const char *const codes[ECG12_LEADS] = {"I",  "II", "III", "AVR", "AVL", "AVF",
                                                 "V1", "V2", "V3",  "V4",  "V5",  "V6"};
  bool damaged = f->damage != AECG_WHOLE && lead == DAMAGED_LEAD;
  const char *code = codes[lead];
  if (damaged && f->damage == AECG_UNKNOWN_LEAD)
    code = "Q7";
  if (damaged && f->damage == AECG_LEAD_TWICE)
    code = codes[ECG12_V2];
  buf_text(b, "<component>\n<sequence classCode=\"OBS\" moodCode=\"EVN\">\n");
  buf_format(b, "<code code=\"MDC_ECG_LEAD_%s\" codeSystem=\"" MDC "\" codeSystemName=\"MDC\"/>\n", code);
  buf_text(b, "<value xsi:type=\"SLIST_PQ\">\n");
  put_scale(b, f, ecg12_lead_step(lead), damaged);
  int origin = f->origin_uv * 10 / (int)ecg12_lead_step(lead);
  put_digits(b, f, v, n - (damaged && f->damage == AECG_SHORT_LEAD), origin, damaged);
  buf_text(b, "</value>\n</sequence>\n</component>\n");
}

static bool left_out(const struct aecg_file *f, enum ecg12_lead lead) {
  return f->damage == AECG_NO_DIGITS || (f->eight && lead >= ECG12_III && lead <= ECG12_AVF);
}

static void put_set(struct buf *b, const struct aecg_file *f, const struct ecg12 *e, size_t first, size_t n,
                    bool relative) {
  buf_text(b, "<component>\n<sequenceSet classCode=\"OBSCOR\" moodCode=\"EVN\">\n");
  put_time_sequence(b, f, e->rate_hz, relative);
  for (enum ecg12_lead lead = 0; lead < ECG12_LEADS; lead++) {
    if (!left_out(f, lead))
      put_lead(b, f, lead, e->lead[lead] + first, n);
  }
  buf_text(b, "</sequenceSet>\n</component>\n");
}

/* ---- annotations ---- */

static void put_measurement(struct buf *b, const char *code, unsigned value, const char *unit) {
  buf_text(b, "<component>\n<annotation>\n");
  put_code(b, code, MDC);
  buf_format(b, "<value xsi:type=\"PQ\" value=\"%u\" unit=\"%s\"/>\n</annotation>\n</component>\n", value, unit);
}

static void put_statement(struct buf *b, const char *statement) {
  buf_text(b, "<component>\n<annotation>\n");
  put_code(b, "MDC_ECG_INTERPRETATION", MDC);
  buf_text(b, "<component>\n<annotation>\n");
  put_code(b, "MDC_ECG_INTERPRETATION_STATEMENT", MDC);
  buf_text(b, "<value xsi:type=\"ST\">");
  xml_out_text(b, statement);
  buf_text(b, "</value>\n</annotation>\n</component>\n</annotation>\n</component>\n");
}

static void put_annotations(struct buf *b, const struct aecg_file *f) {
  if (!f->facts.statement && !f->measurements)
    return;
  buf_text(b, "<subjectOf>\n<annotationSet>\n");
  put_time(b, f, "activityTime", 0);
  if (f->measurements) {
    put_measurement(b, "MDC_ECG_HEART_RATE", 75, "bpm");
    put_measurement(b, "MDC_ECG_TIME_PD_PR", 155, "ms");
    put_measurement(b, "MDC_ECG_TIME_PD_QRS", 85, "ms");
    put_measurement(b, "MDC_ECG_TIME_PD_QT", 400, "ms");
  }
  if (f->facts.statement)
    put_statement(b, f->facts.statement);
  buf_text(b, "</annotationSet>\n</subjectOf>\n");
}

/* ---- the document ---- */

static void put_derived(struct buf *b, const struct aecg_file *f, const struct ecg12 *e) {
  size_t first, n;
  if (!f->derived || !ecg12_median(e, &first, &n))
    return;
  buf_text(b, "<derivation>\n<derivedSeries>\n");
  put_code(b, "REPRESENTATIVE_BEAT", ACT_CODE);
  put_span(b, f, e);
  put_set(b, f, e, first, n, true);
  buf_text(b, "</derivedSeries>\n</derivation>\n");
}

static void put_series(struct buf *b, const struct aecg_file *f, const struct ecg12 *e) {
  buf_text(b, "<component>\n<series classCode=\"OBSSER\" moodCode=\"EVN\">\n");
  put_code(b, "RHYTHM", ACT_CODE);
  put_span(b, f, e);
  put_author(b, &f->facts);
  if (f->filters)
    put_filters(b);
  put_set(b, f, e, 0, e->n, f->relative);
  put_derived(b, f, e);
  put_annotations(b, f);
  buf_text(b, f->damage == AECG_WRONG_CLOSING_TAG ? "</sequence>\n</component>\n" : "</series>\n</component>\n");
}

static void put_doctype(struct buf *b, enum aecg_damage damage) {
  if (damage == AECG_EXTERNAL_ENTITY)
    buf_text(b, "<!DOCTYPE AnnotatedECG [<!ENTITY j SYSTEM \"file:///etc/hostname\">]>\n");
  if (damage == AECG_ENTITY_BOMB)
    xml_out_entity_bomb(b, "AnnotatedECG");
}

static void put_document(struct buf *b, const struct aecg_file *f, const struct ecg12 *e) {
  put_doctype(b, f->damage);
  buf_format(b,
             "<AnnotatedECG xmlns%s%s=\"urn:hl7-org:v3\" xmlns:voc=\"urn:hl7-org:v3/voc\""
             " xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" type=\"Observation\" classCode=\"OBS\">\n",
             f->prefix ? ":" : "", f->prefix ? f->prefix : "");
  buf_text(b, "<id root=\"61d1a24f-b47e-41aa-ae95-f8ac302f4eeb\"/>\n"
              "<code code=\"93000\" codeSystem=\"2.16.840.1.113883.6.12\" codeSystemName=\"CPT-4\"/>\n");
  put_span(b, f, e);
  put_subject(b, f);
  put_series(b, f, e);
  buf_text(b, "</AnnotatedECG>\n");
}

static bool possible(const struct aecg_file *f, const struct ecg12 *e) {
  return e->rate_hz > 0 && 1000000000 % e->rate_hz == 0 && f->origin_uv % ECG12_STEP_UV == 0 &&
         f->increment_unit != AECG_NANO && f->scale_unit != AECG_WHOLE_UNIT;
}

int aecg_file_make(const struct aecg_file *options, const struct ecg12 *ecg, struct buf *ret) {
  struct buf plain _buf_cleanup_ = BUF_INIT(XML_OUT_MAX), prefixed _buf_cleanup_ = BUF_INIT(XML_OUT_MAX);
  size_t before = ret->len;
  if (!possible(options, ecg))
    return -EINVAL;
  put_document(&plain, options, ecg);
  const char *body = buf_cstr(&plain);
  if (body && options->prefix) {
    xml_out_prefix(&prefixed, body, options->prefix);
    body = buf_cstr(&prefixed);
  }
  if (!body)
    return -ENOMEM;
  xml_out_encode(ret, body, options->encoding);
  if (options->damage == AECG_TRUNCATED && ret->err == 0)
    ret->len = before + (ret->len - before) / 4 * 2;
  return ret->err;
}
