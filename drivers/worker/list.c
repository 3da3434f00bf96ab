#include "commands.h"

#include "json.h"
#include <asalee/record.h>
#include <stdio.h>
#include <string.h>

#define FIELD_MAX 96

static const char *const parities[] = {"none", "even", "odd"};

/* ---- for people ---- */

static void match_text(const struct acq_match *m, char text[static FIELD_MAX]) {
  char ids[24] = "any", class[16] = "";
  if (m->vendor && m->product)
    snprintf(ids, sizeof ids, "%04x:%04x", m->vendor, m->product);
  else if (m->vendor)
    snprintf(ids, sizeof ids, "%04x:*", m->vendor);
  if (m->usb_class)
    snprintf(class, sizeof class, " class %02x", m->usb_class);
  if (m->bus == ACQ_USB)
    snprintf(text, FIELD_MAX, "usb %s%s", ids, class);
  else if (m->bus == ACQ_SERIAL)
    snprintf(text, FIELD_MAX, "serial %s %u 8%c1%s", ids, m->baud,
             m->parity == ACQ_PARITY_EVEN  ? 'E'
             : m->parity == ACQ_PARITY_ODD ? 'O'
                                           : 'N',
             m->generic || !m->vendor ? ", bound in devices.d" : "");
  else
    snprintf(text, FIELD_MAX, "file %.80s", m->pattern);
}

static json_t *modalities_json(const struct acq_driver *d) {
  json_t *list = json_array();
  for (enum acq_modality m = ACQ_ECG; m <= ACQ_MEASUREMENT; m++)
    if (d->modalities & ACQ_MODALITY(m) && json_array_append_new(list, json_string(acq_modality_name(m))) < 0) {
      json_decref(list);
      return NULL;
    }
  return list;
}

/* "spirometry, ecg" */
static void modalities_text(const struct acq_driver *d, char text[static FIELD_MAX]) {
  size_t n = 0;
  for (enum acq_modality m = ACQ_ECG; m <= ACQ_MEASUREMENT; m++)
    if (d->modalities & ACQ_MODALITY(m))
      n += (size_t)snprintf(text + n, FIELD_MAX - n, "%s%s", n ? "," : "", acq_modality_name(m));
}

static int list_text(const struct acq_driver *const *table) {
  static const char form[] = "%-22s %-26s %-13s %-10s %-40s %s\n";
  printf(form, "NAME", "MODALITIES", "MATURITY", "INTEGRITY", "BINDS", "LABEL");
  for (size_t i = 0; table[i]; i++) {
    const struct acq_driver *d = table[i];
    char binds[FIELD_MAX], modalities[FIELD_MAX];
    match_text(d->match, binds);
    modalities_text(d, modalities);
    printf(form, d->name, modalities, acq_maturity_name(d->maturity), acq_integrity_name(d->integrity), binds,
           d->label);
    for (const struct acq_match *m = d->match + 1; m->bus; m++) {
      match_text(m, binds);
      printf("%-22s %-26s %-13s %-10s %s\n", "", "", "", "", binds);
    }
  }
  return fflush(stdout) || ferror(stdout) ? 1 : 0;
}

/* ---- for the daemon ---- */

static json_t *match_json(const struct acq_match *m) {
  return json_pack("{s:s, s:i, s:i, s:i, s:b, s:I, s:s, s:s, s:b}", "bus", acq_bus_name(m->bus), "vendor",
                   (int)m->vendor, "product", (int)m->product, "class", (int)m->usb_class, "generic", (int)m->generic,
                   "baud", (json_int_t)m->baud, "parity", parities[m->parity], "pattern", m->pattern ? m->pattern : "",
                   "flat", (int)m->flat);
}

static json_t *driver_json(const struct acq_driver *d) {
  const struct acq_limits *l = &d->limits;
  _json_cleanup_ json_t *matches = json_array();
  for (const struct acq_match *m = d->match; m->bus; m++)
    if (json_array_append_new(matches, match_json(m)) < 0)
      return NULL;
  return json_pack("{s:i, s:s, s:s, s:s, s:o, s:s, s:s, s:O, s:{s:I, s:I, s:I, s:I, s:I}}", "abi", (int)d->abi, "name",
                   d->name, "version", d->version, "label", d->label, "modalities", modalities_json(d), "maturity",
                   acq_maturity_name(d->maturity), "integrity", acq_integrity_name(d->integrity), "match", matches,
                   "limits", "max_bytes", (json_int_t)l->max_bytes, "max_seconds", (json_int_t)l->max_seconds,
                   "default_seconds", (json_int_t)l->default_seconds, "idle_ms", (json_int_t)l->idle_ms, "grace_ms",
                   (json_int_t)l->grace_ms);
}

static int list_json(const struct acq_driver *const *table) {
  _json_cleanup_ json_t *list = json_array();
  for (size_t i = 0; table[i]; i++)
    if (json_array_append_new(list, driver_json(table[i])) < 0)
      return 1;
  char *text = json_canonical(list, NULL);
  if (!text)
    return 1;
  puts(text);
  free(text);
  return fflush(stdout) || ferror(stdout) ? 1 : 0;
}

int command_list(const struct acq_driver *const *table, bool json) {
  return json ? list_json(table) : list_text(table);
}

/* ---- for udev ---- */

static void rule_text(const struct acq_match *m, char text[static 256]) {
  static const char give[] = "MODE=\"0660\", GROUP=\"asaleed\", TAG+=\"asaleed\"";
  char ids[96] = "", class[64] = "";
  const char *attribute = m->bus == ACQ_USB ? "ATTR" : "ATTRS"; /* a tty's ids are its parent's */
  text[0] = 0;
  if (m->bus == ACQ_FILE || (m->bus == ACQ_SERIAL && !m->vendor))
    return;
  if (m->vendor && m->product)
    snprintf(ids, sizeof ids, "%s{idVendor}==\"%04x\", %s{idProduct}==\"%04x\", ", attribute, m->vendor, attribute,
             m->product);
  else if (m->vendor)
    snprintf(ids, sizeof ids, "%s{idVendor}==\"%04x\", ", attribute, m->vendor);
  if (m->bus == ACQ_USB && m->usb_class)
    snprintf(class, sizeof class, "ENV{ID_USB_INTERFACES}==\"*:%02x????:*\", ", m->usb_class);
  if (m->bus == ACQ_USB)
    snprintf(text, 256, "SUBSYSTEM==\"usb\", ENV{DEVTYPE}==\"usb_device\", %s%s%s", ids, class, give);
  else
    snprintf(text, 256, "SUBSYSTEM==\"tty\", %s%s", ids, give);
}

/* True when an earlier match already gave the same rule: many drivers share one bridge. */
static bool said_before(const struct acq_driver *const *table, const struct acq_match *until, const char *rule) {
  char text[256];
  for (size_t i = 0; table[i]; i++)
    for (const struct acq_match *m = table[i]->match; m->bus; m++) {
      if (m == until)
        return false;
      rule_text(m, text);
      if (!strcmp(text, rule))
        return true;
    }
  return false;
}

/* For drivers of files: those that lie on a memory stick. asaleed says which sticks are declared, and only they are
 * mounted; the types are those that the unit mounts. */
static void put_sticks(const struct acq_driver *const *table) {
  bool files = false;
  for (size_t i = 0; table[i]; i++)
    for (const struct acq_match *m = table[i]->match; m->bus; m++)
      files |= m->bus == ACQ_FILE;
  if (files)
    puts("\n# Memory sticks: a unit for each asks asaleed whether it is a declared one.\n"
         "ACTION!=\"remove\", SUBSYSTEM==\"block\", ENV{ID_BUS}==\"usb\", ENV{ID_FS_USAGE}==\"filesystem\", "
         "ENV{ID_FS_TYPE}==\"vfat|exfat|ntfs|udf\", TAG+=\"systemd\", "
         "ENV{SYSTEMD_WANTS}+=\"asaleed-media@%k.service\"");
}

int command_udev(const struct acq_driver *const *table) {
  char rule[256];
  puts("# Made by \"asaleed-driver udev\" from the drivers' match tables: change those, not this file.\n"
       "# The group opens the node, the tag makes asaleed see it.");
  for (size_t i = 0; table[i]; i++) {
    printf("\n# %s: %s\n", table[i]->name, table[i]->label);
    for (const struct acq_match *m = table[i]->match; m->bus; m++) {
      rule_text(m, rule);
      if (m->bus == ACQ_FILE)
        printf("# files %s: no device\n", m->pattern);
      else if (!rule[0])
        puts("# a serial port without USB ids: a file in devices.d names the port, and the site gives it the group");
      else {
        if (m->generic)
          printf("# %04x:%04x is a serial bridge that many instruments share: these ids only open the port. A file in\n"
                 "# devices.d binds this one adapter (serial number or socket) to the driver; without it, no order\n"
                 "# ever reaches it.\n",
                 m->vendor, m->product);
        if (said_before(table, m, rule))
          puts("# (the rule is above)");
        else
          puts(rule);
      }
    }
  }
  put_sticks(table);
  return fflush(stdout) || ferror(stdout) ? 1 : 0;
}
