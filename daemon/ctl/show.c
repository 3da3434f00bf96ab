/* show: a study, a record, a record's samples. */
#include "ctl.h"

#include "hash.h"
#include "str.h"
#include <asalee/dec.h>
#include <errno.h>
#include <string.h>

/* The newest record that was not set aside; NULL. */
static const char *study_record(const json_t *study) {
  const json_t *records = json_object_get(study, "records"), *best = NULL;
  uint64_t best_n = 0;
  for (size_t i = 0; i < json_array_size(records); i++) {
    const json_t *record = json_array_get(records, i);
    const char *id = json_text(record, "id");
    uint64_t n;
    if (id && !strncmp(id, "R-", 2) && str_to_u64(id + 2, 1, INT64_MAX, &n) == 0 && n > best_n &&
        !json_is_true(json_object_get(record, "superseded")))
      best = record, best_n = n;
  }
  return json_text(best, "id");
}

/* ---- samples ------------------------------------------------------------------------------------------------ */

/* The octets are as long as their own header says. */
static bool channels_fit(const uint8_t *bytes, size_t n, size_t *ret_data) {
  if (n < 4)
    return false;
  size_t header = (size_t)bytes[0] | (size_t)bytes[1] << 8 | (size_t)bytes[2] << 16 | (size_t)bytes[3] << 24;
  if (header > n - 4)
    return false;
  size_t at = 4 + header + (4 - (4 + header) % 4) % 4;
  _json_cleanup_ json_t *json = json_loadb((const char *)bytes + 4, header, JSON_REJECT_DUPLICATES, &(json_error_t){0});
  const json_t *channels = json_object_get(json, "channels"), *encoding = json_object_get(json, "encoding");
  if (at > n || !json_is_array(channels) || !json_is_string(encoding) ||
      strcmp(json_string_value(encoding), "int16-le") != 0)
    return false;
  uint64_t values = (n - at) / 2, sum = 0;
  for (size_t i = 0; i < json_array_size(channels); i++) {
    const json_t *channel = json_array_get(channels, i);
    int64_t first, samples;
    if (json_int(channel, "first", 0, INT32_MAX, &first) < 0 ||
        json_int(channel, "samples", 0, INT32_MAX, &samples) < 0 || (uint64_t)(first + samples) > values)
      return false;
    sum += (uint64_t)samples;
  }
  *ret_data = at;
  return sum == values && (n - at) % 2 == 0;
}

/* Writes the samples after comparing them with their own header and with the hash in the record. */
static int write_channels(struct ctl *c, const char *id, const json_t *record, const char *path) {
  char target[128];
  snprintf(target, sizeof target, "/v1/records/%s/channels", id);
  struct api_request request = {.method = "GET", .target = target, .bytes = "application/octet-stream"};
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_call(c, &request, &a);
  if (r != CTL_OK)
    return r;
  size_t at;
  char hash[HASH_TEXT];
  const char *expected = json_text(json_object_get(json_object_get(record, "acquired"), "data"), "sha256");
  if (!channels_fit(a.body.data, a.body.len, &at))
    return api_unreached(c, -EPROTO, false);
  hash_sha256_text(a.body.data + at, a.body.len - at, hash);
  if (expected && strcmp(expected, hash) != 0) {
    ctl_say(c, "les échantillons de %s ne sont pas ceux de l'enregistrement : rien n'est écrit (artefact_corrupt)", id);
    return CTL_REFUSED;
  }
  r = ctl_write(c, path, a.body.data, a.body.len);
  if (r == CTL_OK && strcmp(path, "-") && !c->json)
    print_field(c->out, "Signaux dans", path);
  return r;
}

/* ---- a record ----------------------------------------------------------------------------------------------- */

static void print_channels(FILE *f, const json_t *channels) {
  static const char *const heads[] = {"Voie", "Échantillons", "Par seconde", "Échelle", "Manques", "Origine", NULL};
  struct table t;
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(channels); i++) {
    const json_t *channel = json_array_get(channels, i), *rate = json_object_get(channel, "rate");
    int64_t missing = 0, count;
    const json_t *gaps = json_object_get(channel, "gaps");
    for (size_t g = 0; g < json_array_size(gaps); g++) {
      count = json_integer_value(json_array_get(json_array_get(gaps, g), 1));
      missing += count > 0 && count <= INT32_MAX ? count : 0;
    }
    const char *scale = json_text(channel, "scale"), *unit = json_text(channel, "unit");
    table_add(&t, json_text(channel, "label"));
    table_add(&t, show_int(channel, "samples"));
    table_add(&t, json_is_string(rate) ? json_string_value(rate) : show_int(channel, "rate"));
    char number[DEC_TEXT_MAX];
    table_addf(&t, "%s %s", french_number(scale, number), unit && !strcmp(unit, "uV") ? "µV" : unit ? unit : "");
    table_addf(&t, "%lld", (long long)missing);
    table_add(&t, json_is_true(json_object_get(channel, "derived")) ? "calculée" : "mesurée");
  }
  fputc('\n', f);
  table_print(&t, f, "Aucune voie.");
  table_finish(&t);
}

static const char *flag_text(const json_t *flags) {
  const char *flag = json_string_value(json_array_get(flags, 0));
  if (flag && !strcmp(flag, "unusually_low"))
    return "inhabituellement bas";
  if (flag && !strcmp(flag, "unusually_high"))
    return "inhabituellement haut";
  return flag;
}

static void print_measures(FILE *f, const json_t *measures) {
  static const char *const heads[] = {"Mesure", "Valeur", "Unité", "Remarque", NULL};
  struct table t;
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(measures); i++) {
    const json_t *measure = json_array_get(measures, i);
    table_add(&t, json_text(measure, "label"));
    table_add(&t, json_text(measure, "value"));
    table_add(&t, json_text(measure, "unit"));
    table_add(&t, flag_text(json_object_get(measure, "flags")));
  }
  fputc('\n', f);
  table_print(&t, f, "Aucune mesure.");
  table_finish(&t);
}

static void print_pictures(FILE *f, const json_t *pictures) {
  static const char *const heads[] = {"Image", "Format", "Pixels", "Octets", "Aperçu", NULL};
  struct table t;
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(pictures); i++) {
    const json_t *picture = json_array_get(pictures, i);
    const char *width = show_int(picture, "width"), *height = show_int(picture, "height");
    table_add(&t, show_int(picture, "number"));
    table_add(&t, json_text(picture, "format"));
    table_addf(&t, "%s × %s", width ? width : "?", height ? height : "?");
    table_add(&t, show_int(picture, "bytes"));
    table_add(&t, json_is_object(json_object_get(picture, "preview")) ? "oui" : "non");
  }
  fputc('\n', f);
  table_print(&t, f, "Aucune image.");
  table_finish(&t);
}

static void print_quality(FILE *f, const json_t *quality) {
  fputs("\nQualité technique :\n", f);
  if (!json_array_size(quality))
    fputs("  rien à signaler\n", f);
  for (size_t i = 0; i < json_array_size(quality); i++) {
    const json_t *item = json_array_get(quality, i);
    fputs("  ", f);
    print_text(f, say_severity(json_text(item, "severity")));
    fputs(" : ", f);
    print_text(f, json_text(item, "text"));
    fputc('\n', f);
  }
}

static void print_statements(FILE *f, const json_t *statements) {
  if (!json_array_size(statements))
    return;
  fputs("\nCe que l'appareil affirme (à valider par le médecin) :\n", f);
  for (size_t i = 0; i < json_array_size(statements); i++) {
    fputs("  ", f);
    print_text(f, json_text(json_array_get(statements, i), "text"));
    fputc('\n', f);
  }
}

void print_record(FILE *f, const json_t *record) {
  const json_t *acquired = json_object_get(record, "acquired");
  if (json_array_size(json_object_get(acquired, "channels")))
    print_channels(f, json_object_get(acquired, "channels"));
  if (json_array_size(json_object_get(acquired, "measures")))
    print_measures(f, json_object_get(acquired, "measures"));
  if (json_array_size(json_object_get(acquired, "pictures")))
    print_pictures(f, json_object_get(acquired, "pictures"));
  print_quality(f, json_object_get(record, "quality"));
  print_statements(f, json_object_get(record, "statements"));
}

/* What a file says of itself: whose it is, when it was made. */
static void print_taken(FILE *f, const json_t *record) {
  const json_t *subject = json_object_get(record, "subject");
  const json_t *trial = json_array_get(json_object_get(json_object_get(record, "acquired"), "trials"), 0);
  const char *family = json_text(subject, "family"), *given = json_text(subject, "given"),
             *birth = json_text(subject, "birth_date"), *id = json_text(subject, "id");
  if (!subject || json_is_null(subject))
    return;
  if (json_text(trial, "time"))
    print_field(f, "Fait le", show_time(json_text(trial, "time")));
  print_fieldf(f, "Patient indiqué", "%s %s%s%s%s%s", family ? family : "", given ? given : "",
               birth && *birth ? ", " : "", birth && *birth ? show_date(birth) : "", id && *id ? ", n° " : "",
               id ? id : "");
}

static void print_record_answer(FILE *f, const json_t *answer) {
  const json_t *provenance = json_object_get(answer, "provenance"), *record = json_object_get(answer, "record");
  const json_t *device = json_object_get(record, "device");
  const char *make = json_text(device, "make"), *model = json_text(device, "model");
  const char *driver = json_text(provenance, "driver"), *version = json_text(provenance, "driver_version");
  print_field(f, "Enregistrement", json_text(answer, "id"));
  print_field(f, "Examen", json_text(answer, "study"));
  print_field(
      f, "Commencé le",
      show_time(json_text(record, "started") ? json_text(record, "started") : json_text(provenance, "host_started")));
  print_taken(f, record);
  print_field(f, "Fin", say_end(json_text(record, "end")));
  print_field(f, "Complet", json_is_true(json_object_get(record, "complete")) ? "oui" : "NON");
  print_fieldf(f, "Appareil", "%s %s", make ? make : "?", model ? model : "");
  print_field(f, "N° de série", json_text(device, "serial"));
  print_field(f, "Logiciel interne", json_text(device, "firmware"));
  print_fieldf(f, "Pilote", "%s %s", driver ? driver : "?", version ? version : "");
  print_field(f, "Capture", json_text(provenance, "capture_sha256"));
  print_field(f, "Empreinte", json_text(answer, "sha256"));
  print_record(f, record);
}

/* A record as it is printed, and its samples when they are asked for. */
static int show_record(struct ctl *c, const char *id, bool print, const char *channels) {
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/records/%s", id);
  if (r != CTL_OK)
    return r;
  bool standard = channels && !strcmp(channels, "-");
  if (print && !standard && !api_json(c, &a))
    print_record_answer(c->out, a.json);
  return channels ? write_channels(c, id, json_object_get(a.json, "record"), channels) : CTL_OK;
}

/* ---- a study ------------------------------------------------------------------------------------------------ */

static void print_records(FILE *f, const json_t *records) {
  static const char *const heads[] = {"Enregistrement", "Fait le", "Pilote", "Complet", "Qualité", "Remarque", NULL};
  struct table t;
  table_init(&t, heads);
  for (size_t i = 0; i < json_array_size(records); i++) {
    const json_t *record = json_array_get(records, i);
    const char *driver = json_text(record, "driver"), *version = json_text(record, "driver_version");
    table_add(&t, json_text(record, "id"));
    table_add(&t, show_time(json_text(record, json_text(record, "taken") ? "taken" : "created")));
    table_addf(&t, "%s %s", driver ? driver : "?", version ? version : "");
    table_add(&t, json_is_true(json_object_get(record, "complete")) ? "oui" : "NON");
    table_add(&t, json_is_true(json_object_get(record, "clean")) ? "propre" : "à vérifier");
    table_add(&t, json_is_true(json_object_get(record, "superseded")) ? "remplacé" : NULL);
  }
  fputc('\n', f);
  table_print(&t, f, "Aucun enregistrement.");
  table_finish(&t);
}

/* Records that stand whose file names somebody else than the patient; never by the name. */
static void print_doubts(FILE *f, const json_t *records) {
  for (size_t i = 0; i < json_array_size(records); i++) {
    const json_t *record = json_array_get(records, i), *differs = json_object_get(record, "subject_differs");
    const json_t *confirmed = json_object_get(record, "confirmed");
    const char *id = known(json_text(record, "id")), *by = json_text(confirmed, "by");
    if (!differs || json_is_false(differs) || json_is_true(json_object_get(record, "superseded")))
      continue;
    if (json_is_null(differs))
      print_fieldf(f, "Attention", "l'identité que porte le fichier ne peut pas être relue (%s)", id);
    else
      print_fieldf(
          f, "Attention", "le fichier porte une autre identité que le patient (voir asaleectl show %s)%s%s%s%s", id,
          by ? " ; confirmé par " : "", by ? by : "", by ? " : " : "", by ? known(json_text(confirmed, "reason")) : "");
  }
}

/* Where it was sent back or on. */
static void print_course(FILE *f, const json_t *study) {
  const json_t *returned = json_object_get(study, "returned"), *referrals = json_object_get(study, "referrals");
  for (size_t i = 0; i < json_array_size(referrals); i++) {
    const json_t *referral = json_array_get(referrals, i);
    const char *text = json_text(referral, "text");
    print_fieldf(f, "Adressé", "%s, le %s par %s%s%s", known(say_role(json_text(referral, "reader"))),
                 known(show_time(json_text(referral, "at"))), known(json_text(referral, "by")),
                 text && *text ? " : " : "", text ? text : "");
  }
  if (json_is_object(returned)) {
    const char *text = json_text(returned, "text"), *by = json_text(returned, "by"); /* not for the nurse */
    print_fieldf(f, "Renvoyé", "le %s%s%s : %s%s%s", known(show_time(json_text(returned, "at"))), by ? " par " : "",
                 by ? by : "", known(json_text(returned, "label")), text && *text ? " ; " : "", text ? text : "");
    print_field(f, "Refait par", json_text(returned, "repeat"));
  }
  if (json_text(study, "repeats"))
    print_field(f, "Refait", json_text(study, "repeats"));
}

/* Whether whoever was called has heard it. */
static void print_pages(FILE *f, const json_t *pages) {
  size_t i;
  const json_t *page;
  json_array_foreach(pages, i, page) {
    const json_t *heard = json_object_get(page, "heard");
    const char *at = known(show_time(json_text(page, "at"))), *text = json_text(page, "text");
    const char *colon = text && *text ? " : " : "";
    text = text ? text : "";
    if (json_is_object(heard))
      print_fieldf(f, "Appel", "%s, entendu par %s le %s%s%s", at, known(json_text(heard, "by")),
                   known(show_time(json_text(heard, "at"))), colon, text);
    else
      print_fieldf(f, "Appel", "%s, pas encore entendu%s%s", at, colon, text);
  }
}

static void print_study(FILE *f, const json_t *study) {
  const json_t *patient = json_object_get(study, "patient"), *acquisition = json_object_get(study, "acquisition");
  const json_t *failure = json_object_get(study, "last_failure"), *claim = json_object_get(study, "claim");
  print_field(f, "Examen", json_text(study, "id"));
  print_field(f, "Prescription", json_text(study, "order"));
  print_field(f, "Patient", show_patient(patient));
  print_field(f, "Identifiant", json_text(patient, "id"));
  print_field(f, "Né(e) le", show_date(json_text(patient, "birth_date")));
  print_field(f, "Sexe", say_sex(json_text(patient, "sex")));
  if (json_is_true(json_object_get(study, "identity_changed")))
    print_field(f, "Attention", "l'identité du patient a été modifiée depuis l'enregistrement ou la signature");
  if (json_text(study, "followup"))
    print_fieldf(f, "Suivi", "%s, protocole %s", json_text(study, "followup"), known(json_text(study, "protocol")));
  print_field(f, "Acte", say_modality(json_text(study, "act")));
  if (json_text(study, "urgent"))
    print_field(f, "URGENT depuis", show_time(json_text(study, "urgent")));
  print_pages(f, json_object_get(study, "pages"));
  print_field(f, "État", say_state(json_text(study, "state")));
  print_field(f, "Essais", show_int(study, "attempts"));
  print_field(f, "Échéance", show_time(json_text(study, "due")));
  print_field(f, "Lecteur", say_role(json_text(study, "reader")));
  print_field(f, "Créé le", show_time(json_text(study, "created")));
  if (json_is_object(acquisition))
    print_fieldf(f, "Acquisition", "%s sur %s", json_text(acquisition, "id") ? json_text(acquisition, "id") : "?",
                 json_text(acquisition, "device") ? json_text(acquisition, "device") : "?");
  if (json_is_object(failure))
    print_fieldf(f, "Dernier échec", "%s (%s)", json_text(failure, "detail") ? json_text(failure, "detail") : "?",
                 json_text(failure, "code") ? json_text(failure, "code") : "?");
  if (json_is_object(claim))
    print_fieldf(f, "En lecture par", "%s, jusqu'au %s", json_text(claim, "by") ? json_text(claim, "by") : "?",
                 show_time(json_text(claim, "expires")) ? show_time(json_text(claim, "expires")) : "?");
  print_field(f, "Remarque", json_text(study, "comment"));
  print_doubts(f, json_object_get(study, "records"));
  print_course(f, study);
  print_records(f, json_object_get(study, "records"));
  print_spirometry(f, study);
  print_fundus(f, study);
  print_shown(f, study);
  print_interpretation(f, json_object_get(study, "interpretation"));
}

int cmd_show(struct ctl *c) {
  const char *channels = ctl_option(c, "channels");
  if (channels && !strcmp(channels, "-") && (c->tty || c->json))
    return ctl_usage(c, "--channels - : la sortie doit être un fichier ou un tube, et sans --json");
  if (c->args[0][0] == 'R')
    return show_record(c, c->args[0], true, channels);
  _answer_cleanup_ struct api_answer a = {0};
  int r = api_get(c, &a, "/v1/studies/%s", c->args[0]);
  if (r != CTL_OK)
    return r;
  if (!(channels && !strcmp(channels, "-")) && !api_json(c, &a))
    print_study(c->out, a.json);
  if (!channels)
    return CTL_OK;
  const char *record = study_record(a.json);
  if (record)
    return show_record(c, record, false, channels);
  ctl_say(c, "l'examen %s n'a pas d'enregistrement en cours (not_found)", c->args[0]);
  return CTL_REFUSED;
}
