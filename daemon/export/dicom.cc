/* The only C++: what the toolkit throws ends here. */
#include "dicom.h"

#include <dcmtk/config/osconfig.h>
#include <dcmtk/dcmdata/dcostrmb.h>
#include <dcmtk/dcmdata/dctk.h>
#include <dcmtk/dcmdata/dcwcache.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <memory>
#include <new>
#include <unistd.h>
#include <vector>

/* Who wrote the file: ours for good, whatever the version. */
#define IMPLEMENTATION_CLASS "2.25.199212891854871038410481572168703593881"
#define IMPLEMENTATION_VERSION "ASALEED_" ASALEED_VERSION

struct dicom {
  DcmDataset dataset;
  int err = 0;
};

namespace {

DcmTag tag_of(dicom_tag tag) {
  const char vr[3] = {static_cast<char>(tag >> 8), static_cast<char>(tag), 0};
  return DcmTag(static_cast<Uint16>(tag >> 48), static_cast<Uint16>(tag >> 32), DcmVR(vr));
}

DcmItem *item_of(dicom_item at) {
  return static_cast<DcmItem *>(at.item);
}

/* Runs what may throw or fail; the first error stays. */
template <typename Work> void guarded(dicom *object, Work work) {
  if (object->err)
    return;
  try {
    if (!work())
      object->err = -EINVAL;
  } catch (const std::bad_alloc &) {
    object->err = -ENOMEM;
  } catch (...) {
    object->err = -EIO;
  }
}

/* Inserts an element that is not in the item yet, which then owns it. */
bool insert(DcmItem *item, std::unique_ptr<DcmElement> element) {
  if (item->insert(element.get(), OFFalse).bad())
    return false;
  element.release();
  return true;
}

/* The sequence of that tag, made when it is not there; NULL when it cannot be. */
DcmSequenceOfItems *sequence_in(DcmItem *item, dicom_tag tag) {
  const DcmTag key = tag_of(tag);
  DcmStack found;
  if (item->search(key, found, ESM_fromHere, OFFalse).good())
    return OFdynamic_cast(DcmSequenceOfItems *, found.top());
  std::unique_ptr<DcmElement> made(new DcmSequenceOfItems(key));
  DcmElement *sequence = made.get();
  return insert(item, std::move(made)) ? static_cast<DcmSequenceOfItems *>(sequence) : nullptr;
}

bool put(DcmItem *item, Uint16 element, const char *vr, const char *value) {
  return item->putAndInsertString(DcmTag(0x0002, element, DcmVR(vr)), value).good();
}

const E_TransferSyntax syntax = EXS_LittleEndianExplicit;

/* Meta information and dataset, as they stand in the file. */
bool serialise(dicom *object, const char *transfer_syntax, std::vector<char> &ret) {
  const char *sop_class = nullptr, *sop_instance = nullptr;
  DcmMetaInfo meta;
  const Uint8 version[] = {0, 1};
  if (object->dataset.findAndGetString(DCM_SOPClassUID, sop_class).bad() || !sop_class ||
      object->dataset.findAndGetString(DCM_SOPInstanceUID, sop_instance).bad() || !sop_instance ||
      meta.putAndInsertUint8Array(DcmTag(0x0002, 0x0001, EVR_OB), version, sizeof version).bad() ||
      !put(&meta, 0x0002, "UI", sop_class) || !put(&meta, 0x0003, "UI", sop_instance) ||
      !put(&meta, 0x0010, "UI", transfer_syntax) || !put(&meta, 0x0012, "UI", IMPLEMENTATION_CLASS) ||
      !put(&meta, 0x0013, "SH", IMPLEMENTATION_VERSION))
    return false;
  const size_t preamble = 132, group_length = 12;
  const Uint32 rest = meta.calcElementLength(syntax, EET_ExplicitLength) - static_cast<Uint32>(preamble);
  if (meta.putAndInsertUint32(DcmTag(0x0002, 0x0000, EVR_UL), rest).bad())
    return false;
  const size_t body = object->dataset.calcElementLength(syntax, EET_ExplicitLength);
  ret.resize(preamble + group_length + rest + body);
  DcmOutputBufferStream out(ret.data(), static_cast<offile_off_t>(ret.size()));
  DcmWriteCache cache;
  meta.transferInit();
  const bool meta_done = meta.write(out, syntax, EET_ExplicitLength, &cache).good();
  meta.transferEnd();
  object->dataset.transferInit();
  const bool body_done =
      object->dataset.write(out, syntax, EET_ExplicitLength, &cache, EGL_withoutGL, EPD_withoutPadding, 0, 0, 0).good();
  object->dataset.transferEnd();
  return meta_done && body_done && static_cast<size_t>(out.tell()) == ret.size();
}

void add_u16(std::vector<char> &to, unsigned v) {
  to.push_back(static_cast<char>(v));
  to.push_back(static_cast<char>(v >> 8));
}

void add_u32(std::vector<char> &to, size_t v) {
  add_u16(to, static_cast<unsigned>(v & 0xffff));
  add_u16(to, static_cast<unsigned>(v >> 16));
}

/* What stands before and behind the pieces of Pixel Data (PS3.5 A.4 for the one fragment, an empty offset table). */
void frame(const dicom_pixels *pixels, std::vector<char> &head, std::vector<char> &tail) {
  size_t n = 0;
  for (size_t i = 0; i < pixels->n; i++)
    n += pixels->pieces[i].iov_len;
  add_u32(head, 0x00107fe0);
  head.insert(head.end(), {'O', 'B', 0, 0});
  if (pixels->encapsulated) {
    add_u32(head, 0xffffffff);
    add_u32(head, 0xe000fffe);
    add_u32(head, 0);
    add_u32(head, 0xe000fffe);
  }
  add_u32(head, n + n % 2);
  if (n % 2)
    tail.push_back(0);
  if (pixels->encapsulated) {
    add_u32(tail, 0xe0ddfffe);
    add_u32(tail, 0);
  }
}

int write_all(int fd, std::vector<iovec> &pieces) {
  off_t at = 0;
  for (size_t i = 0; i < pieces.size();) {
    const size_t left = pieces.size() - i;
    const ssize_t n = pwritev(fd, &pieces[i], static_cast<int>(left < IOV_MAX ? left : IOV_MAX), at);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return n < 0 ? -errno : -EIO;
    at += n;
    for (size_t done = static_cast<size_t>(n); i < pieces.size() && (done || !pieces[i].iov_len);) {
      const size_t step = done < pieces[i].iov_len ? done : pieces[i].iov_len;
      pieces[i].iov_base = static_cast<char *>(pieces[i].iov_base) + step;
      pieces[i].iov_len -= step;
      done -= step;
      i += !pieces[i].iov_len;
    }
  }
  return 0;
}

} // namespace

dicom *dicom_create(void) {
  try {
    OFLog::configure(OFLogger::OFF_LOG_LEVEL); /* it would quote what it was given */
    return new dicom;
  } catch (...) {
    return nullptr;
  }
}

void dicom_destroy(dicom *object) {
  try {
    delete object;
  } catch (...) { /* nothing is left to do */
  }
}

dicom_item dicom_root(dicom *object) {
  return {object, static_cast<DcmItem *>(&object->dataset)};
}

void dicom_text(dicom_item at, dicom_tag tag, const char *value) {
  guarded(at.object, [&] { return item_of(at)->putAndInsertString(tag_of(tag), value, OFFalse).good(); });
}

void dicom_u16(dicom_item at, dicom_tag tag, const uint16_t *values, size_t n) {
  guarded(at.object, [&] {
    return item_of(at)->putAndInsertUint16Array(tag_of(tag), values, static_cast<unsigned long>(n), OFFalse).good();
  });
}

void dicom_u32(dicom_item at, dicom_tag tag, uint32_t value) {
  guarded(at.object, [&] { return item_of(at)->putAndInsertUint32(tag_of(tag), value, 0, OFFalse).good(); });
}

void dicom_pointer(dicom_item at, dicom_tag tag, dicom_tag to) {
  guarded(at.object, [&] {
    std::unique_ptr<DcmAttributeTag> element(new DcmAttributeTag(tag_of(tag)));
    return element->putTagVal(tag_of(to).getXTag()).good() && insert(item_of(at), std::move(element));
  });
}

void dicom_real(dicom_item at, dicom_tag tag, int32_t mantissa, int exponent) {
  guarded(at.object, [&] {
    double value = mantissa, power = 1;
    for (int i = exponent < 0 ? -exponent : exponent; i > 0; i--)
      power *= 10;
    value = exponent < 0 ? value / power : value * power;
    return item_of(at)->putAndInsertFloat32(tag_of(tag), static_cast<Float32>(value), 0, OFFalse).good();
  });
}

uint16_t *dicom_words(dicom_item at, dicom_tag tag, size_t n) {
  Uint16 *words = nullptr;
  guarded(at.object, [&] {
    std::unique_ptr<DcmOtherByteOtherWord> element(new DcmOtherByteOtherWord(tag_of(tag)));
    return n < UINT32_MAX / 2 && element->createUint16Array(static_cast<Uint32>(n), words).good() &&
           insert(item_of(at), std::move(element));
  });
  return at.object->err ? nullptr : words;
}

dicom_item dicom_add(dicom_item at, dicom_tag sequence) {
  dicom_item ret = at; /* on error: anything that is an item, as nothing more is put */
  guarded(at.object, [&] {
    DcmSequenceOfItems *items = sequence_in(item_of(at), sequence);
    std::unique_ptr<DcmItem> item(new DcmItem());
    if (!items || items->append(item.get()).bad())
      return false;
    ret.item = item.release();
    return true;
  });
  return ret;
}

void dicom_none(dicom_item at, dicom_tag sequence) {
  guarded(at.object, [&] { return sequence_in(item_of(at), sequence) != nullptr; });
}

int dicom_write(dicom *object, int fd, const char *transfer_syntax, const dicom_pixels *pixels) {
  int r = 0;
  guarded(object, [&] {
    std::vector<char> head, tail;
    if (!serialise(object, transfer_syntax, head))
      return false;
    if (pixels)
      frame(pixels, head, tail);
    std::vector<iovec> pieces;
    pieces.push_back({head.data(), head.size()});
    if (pixels)
      pieces.insert(pieces.end(), pixels->pieces, pixels->pieces + pixels->n);
    pieces.push_back({tail.data(), tail.size()});
    r = write_all(fd, pieces);
    return true;
  });
  return object->err ? object->err : r;
}
