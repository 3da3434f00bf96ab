/* A table of reference splines that is taken (reference.h) and is nobody's: flat, each value what it must be at the one
 * age at which a table is checked. At that age and height (M: 45 years, 175 cm; F: 60 years, 160 cm) it gives the
 * published figures. */
#ifndef ASALEED_GLI_TABLE_H
#define ASALEED_GLI_TABLE_H

#include "buf.h"

#define GLI_HEADER "sex,index,age,Mspline,Sspline,Lspline\n"
#define GLI_BLOCKS 6
#define GLI_ROWS 369

static const struct gli_block {
  char sex;
  const char *index;
  double age, m, s;
} gli_blocks[GLI_BLOCKS] = {
    {'M', "FEV1", 45, 0.03525, -0.00614}, {'M', "FVC", 45, 0.03109, -0.00423}, {'M', "FEV1FVC", 45, -0.00476, -0.00101},
    {'F', "FEV1", 60, -0.06522, 0.03721}, {'F', "FVC", 60, -0.05053, 0.03661}, {'F', "FEV1FVC", 60, -0.01732, 0.07163},
};

static inline void gli_table(struct buf *ret) {
  buf_text(ret, GLI_HEADER);
  for (int b = 0; b < GLI_BLOCKS; b++)
    for (int row = 0; row < GLI_ROWS; row++)
      buf_format(ret, "%c,%s,%d.%02d,%.5f,%.5f,0\n", gli_blocks[b].sex, gli_blocks[b].index, 3 + row / 4, row % 4 * 25,
                 gli_blocks[b].m, gli_blocks[b].s);
}

#endif
