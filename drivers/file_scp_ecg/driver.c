/* SCP-ECG files, version 1 and 2 (EN 1064, ISO 11073-91064): what many electrocardiographs write on a key or a share.
 * README.md says what of it and how well it is known. */
#include "findings.h"
#include "rhythm.h"

#define FILE_BYTES_MAX (32u << 20)

static int decode(const struct acq_capture *capture, struct acq_record *record) {
  static struct scp_file file;
  static struct scp_about about;
  struct acq_cur bytes;
  int r = acq_capture_file(capture, &bytes, NULL);
  if (r < 0)
    return acq_rec_fail(record, r, "the file did not come whole");
  r = scp_open(bytes, &file, record);
  if (r == 0)
    r = scp_about_read(&file.section[1], &about, record);
  if (r < 0)
    return r;
  if (about.has_instrument)
    acq_rec_instrument(record, &about.instrument);
  if (about.has_subject)
    acq_rec_subject(record, &about.subject);
  const struct acq_trial trial = {.timed = about.timed, .clock_us = about.clock_us};
  acq_rec_trial(record, &trial);
  if (!trial.timed)
    acq_rec_quality(record, "reading_time_unverified", "", 1);
  r = scp_rhythm_read(&file, about.quirks, record);
  if (r < 0)
    return r;
  acq_rec_limb_leads(record);
  scp_about_tell(&about, record);
  scp_findings_tell(&file, &about, record);
  if (about.contradicts)
    scp_quality(record, "file_inconsistent", 1);
  if (about.unreadable)
    acq_rec_quality(record, "text_unreadable", "", 1);
  return acq_rec_done(record);
}

static const struct acq_match match[] = {
    {.bus = ACQ_FILE, .pattern = "*.scp"},
    {.bus = ACQ_FILE, .pattern = "*.ecg"},
    {.bus = 0},
};

const struct acq_driver file_scp_ecg = {
    .abi = ACQ_DRIVER_ABI,
    .name = "file_scp_ecg",
    .version = "1",
    .label = "Fichier SCP-ECG",
    .modalities = ACQ_MODALITY(ACQ_ECG),
    .maturity = ACQ_EXPERIMENTAL,
    .integrity = ACQ_CRC16,
    .match = match,
    .limits =
        {
            .max_bytes = FILE_BYTES_MAX,
            .max_seconds = 3600,
            .default_seconds = 600,
            .idle_ms = 5000,
            .grace_ms = 30000,
        },
    .decode = decode,
};
