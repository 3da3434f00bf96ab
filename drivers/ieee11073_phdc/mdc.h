/* The numbers of ISO/IEEE 11073-20601 and -10101 that the manager itself goes by. What an instrument measures is not
 * here: include/asalee/nomenclature.def has that, by the same codes.
 *
 * Source: README.md, "Where the facts come from". */
#ifndef IEEE11073_PHDC_MDC_H
#define IEEE11073_PHDC_MDC_H

enum { /* partitions */
       MDC_PART_SCADA = 2,
       MDC_PART_INFRA = 8,
       MDC_PART_PHD_DM = 128,
};

enum { /* object classes that the manager treats in their own way; others are numerics, enumerations, arrays */
       MDC_MOC_ENUM = 5,
       MDC_MOC_NU = 6,
       MDC_MOC_SA_RT = 9,
       MDC_MOC_SCAN = 16, /* and its kinds: */
       MDC_MOC_SCAN_CFG_PERI = 19,
       MDC_MOC_PMSTORE = 61,
};

enum { /* attributes */
       MDC_ATTR_ID_MODEL = 2344,
       MDC_ATTR_ID_PHYSIO = 2347,
       MDC_ATTR_ID_PROD_SPECN = 2349,
       MDC_ATTR_ID_TYPE = 2351,
       MDC_ATTR_MSMT_STAT = 2375,
       MDC_ATTR_NU_CMPD_VAL_OBS = 2379,
       MDC_ATTR_NU_VAL_OBS = 2384,
       MDC_ATTR_NUM_SEG = 2385,
       MDC_ATTR_OP_STAT = 2387,
       MDC_ATTR_SA_SPECN = 2413,
       MDC_ATTR_SCALE_SPECN_I16 = 2415,
       MDC_ATTR_SCALE_SPECN_I32 = 2416,
       MDC_ATTR_SCALE_SPECN_I8 = 2417,
       MDC_ATTR_SEG_USAGE_CNT = 2427,
       MDC_ATTR_SYS_ID = 2436,
       MDC_ATTR_TIME_ABS = 2439,
       MDC_ATTR_TIME_END_SEG = 2442,
       MDC_ATTR_TIME_PD_SAMP = 2445,
       MDC_ATTR_TIME_REL = 2447,
       MDC_ATTR_TIME_STAMP_ABS = 2448,
       MDC_ATTR_TIME_STAMP_REL = 2449,
       MDC_ATTR_TIME_START_SEG = 2450,
       MDC_ATTR_UNIT_CODE = 2454,
       MDC_ATTR_TIME_STAMP_REL_HI_RES = 2537,
       MDC_ATTR_SIMP_SA_OBS_VAL = 2632,
       MDC_ATTR_NU_VAL_OBS_BASIC = 2636,
       MDC_ATTR_PM_SEG_MAP = 2638,
       MDC_ATTR_PM_SEG_PERSON_ID = 2639,
       MDC_ATTR_SCAN_HANDLE_ATTR_VAL_MAP = 2643,
       MDC_ATTR_ATTRIBUTE_VAL_MAP = 2645,
       MDC_ATTR_NU_VAL_OBS_SIMP = 2646,
       MDC_ATTR_SYS_TYPE_SPEC_LIST = 2650,
       MDC_ATTR_METRIC_ID_PART = 2655,
       MDC_ATTR_ENUM_OBS_VAL_SIMP_BIT_STR = 2661,
       MDC_ATTR_ENUM_OBS_VAL_BASIC_BIT_STR = 2662,
       MDC_ATTR_NU_CMPD_VAL_OBS_SIMP = 2676,
       MDC_ATTR_NU_CMPD_VAL_OBS_BASIC = 2677,
       MDC_ATTR_ID_PHYSIO_LIST = 2678,
       MDC_ATTR_TIME_BO = 2689,
       MDC_ATTR_TIME_STAMP_BO = 2690,
       MDC_ATTR_TIME_START_SEG_BO = 2691,
       MDC_ATTR_TIME_END_SEG_BO = 2692,
};

enum { /* actions; the one that empties a store, 3084, is not among them on purpose */
       MDC_ACT_SEG_GET_INFO = 3085,
       MDC_ACT_SEG_TRIG_XFER = 3100,
};

enum { /* event types */
       MDC_NOTI_CONFIG = 3356,
       MDC_NOTI_SCAN_REPORT_FIXED = 3357,
       MDC_NOTI_SCAN_REPORT_VAR,
       MDC_NOTI_SCAN_REPORT_MP_FIXED,
       MDC_NOTI_SCAN_REPORT_MP_VAR,
       MDC_NOTI_SEGMENT_DATA,
       MDC_NOTI_UNBUF_SCAN_REPORT_VAR,
       MDC_NOTI_UNBUF_SCAN_REPORT_FIXED,
       MDC_NOTI_UNBUF_SCAN_REPORT_GROUPED,
       MDC_NOTI_UNBUF_SCAN_REPORT_MP_VAR,
       MDC_NOTI_UNBUF_SCAN_REPORT_MP_FIXED,
       MDC_NOTI_UNBUF_SCAN_REPORT_MP_GROUPED,
       MDC_NOTI_BUF_SCAN_REPORT_VAR,
       MDC_NOTI_BUF_SCAN_REPORT_FIXED,
       MDC_NOTI_BUF_SCAN_REPORT_GROUPED,
       MDC_NOTI_BUF_SCAN_REPORT_MP_VAR,
       MDC_NOTI_BUF_SCAN_REPORT_MP_FIXED,
       MDC_NOTI_BUF_SCAN_REPORT_MP_GROUPED,
};

enum { /* Measurement-Status, BITS-16 */
       MSMT_INVALID = 0x8000,
       MSMT_QUESTIONABLE = 0x4000,
       MSMT_NOT_AVAILABLE = 0x2000,
       MSMT_CALIBRATION_ONGOING = 0x1000,
       MSMT_TEST_DATA = 0x0800,
       MSMT_DEMO_DATA = 0x0400,
       MSMT_EARLY_INDICATION = 0x0040,
       MSMT_ONGOING = 0x0020,
       /* Any of these: not a measured value to rely on. */
       MSMT_WITHHELD = MSMT_INVALID | MSMT_QUESTIONABLE | MSMT_NOT_AVAILABLE | MSMT_CALIBRATION_ONGOING |
                       MSMT_TEST_DATA | MSMT_DEMO_DATA | MSMT_EARLY_INDICATION | MSMT_ONGOING,
};

/* The reading status of a peak-flow meter (partition 128), BITS-16; the order is inferred. */
#define MDC_PEF_READING_STATUS 30720
enum {
  PEF_POST_MEDICATION = 0x8000,
  PEF_LONG_TIME_TO_PEAK = 0x4000,
  PEF_SHORT_EFFORT = 0x2000,
  PEF_COUGH = 0x1000,
};

#define PERSON_UNKNOWN 0xffff

#endif
