/* GE MUSE XML: documents as they are. */
#include "fuzz_file.h"

#include <string.h>

extern const struct acq_driver file_ge_muse_xml;

static void check_record(const struct record_result *result, const json_t *record) {
  FUZZ_CHECK(json_array_size(json_object_get(json_object_get(record, "acquired"), "channels")) >= 1);
  FUZZ_CHECK(strstr(result->json, "\"file_unchecked\""));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
  fuzz_file(&file_ge_muse_xml, data, n, check_record);
  return 0;
}

#define LEAD(name, more, data)                                                                                   \
  "<LeadData><LeadSampleCountTotal>3</LeadSampleCountTotal><LeadAmplitudeUnitsPerBit>4.88"                       \
  "</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits><LeadID>" name "</LeadID>" more \
  "<WaveFormData>" data "</WaveFormData></LeadData>"
#define DOCUMENT(leads)                                                                                      \
  "<RestingECG><PatientDemographics><PatientID>7</PatientID><DateofBirth>05-08-1953</DateofBirth>"           \
  "<Gender>MALE</Gender></PatientDemographics><TestDemographics><AcquisitionTime>03:04:05</AcquisitionTime>" \
  "<AcquisitionDate>01-02-2026</AcquisitionDate><CartNumber>1</CartNumber></TestDemographics>"               \
  "<RestingECGMeasurements><QTInterval>400</QTInterval></RestingECGMeasurements><Diagnosis>"                 \
  "<DiagnosisStatement><StmtText>one</StmtText></DiagnosisStatement><DiagnosisStatement><StmtFlag>ENDSLINE"  \
  "</StmtFlag><StmtText>two</StmtText></DiagnosisStatement></Diagnosis><Waveform><WaveformType>Rhythm"       \
  "</WaveformType><NumberofLeads>2</NumberofLeads><SampleBase>500</SampleBase><SampleExponent>0"             \
  "</SampleExponent><HighPassFilter>5</HighPassFilter><LowPassFilter>100</LowPassFilter><ACFilter>60"        \
  "</ACFilter>" leads "</Waveform></RestingECG>"

bool fuzz_seed(const uint8_t *file, size_t n, unsigned i, struct buf *ret) {
  static const char *const documents[] = {
      DOCUMENT(LEAD("I", "", "AQACAAMA") LEAD("II", "<LeadOff>TRUE</LeadOff>", "//8C\nAAMA")),
      "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><!DOCTYPE RestingECG SYSTEM \"restecg.dtd\">" DOCUMENT(
          LEAD("V7", "", "AQACAAMA") LEAD("V1", "<LeadTimeOffset>0</LeadTimeOffset>", "AIACAAMA"))};
  (void)n;
  if (file || i >= sizeof documents / sizeof *documents)
    return false;
  buf_text(ret, documents[i]);
  return ret->err == 0;
}
