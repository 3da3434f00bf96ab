/* The only C++: what the toolkit throws ends here. */
#include "dicom.h"

#include <dcmtk/config/osconfig.h>
#include <dcmtk/dcmdata/dcdicent.h>
#include <dcmtk/dcmdata/dcdict.h>
#include <dcmtk/dcmdata/dcistrma.h>
#include <dcmtk/dcmdata/dcostrmb.h>
#include <dcmtk/dcmdata/dcpixel.h>
#include <dcmtk/dcmdata/dcpixseq.h>
#include <dcmtk/dcmdata/dcpxitem.h>
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
  /* of one that was read: */
  E_TransferSyntax syntax = EXS_Unknown;
  OFString numbers;
  std::vector<iovec> pieces;
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

const E_TransferSyntax ours = EXS_LittleEndianExplicit;

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
  const Uint32 rest = meta.calcElementLength(ours, EET_ExplicitLength) - static_cast<Uint32>(preamble);
  if (meta.putAndInsertUint32(DcmTag(0x0002, 0x0000, EVR_UL), rest).bad())
    return false;
  const size_t body = object->dataset.calcElementLength(ours, EET_ExplicitLength);
  ret.resize(preamble + group_length + rest + body);
  DcmOutputBufferStream out(ret.data(), static_cast<offile_off_t>(ret.size()));
  DcmWriteCache cache;
  meta.transferInit();
  const bool meta_done = meta.write(out, ours, EET_ExplicitLength, &cache).good();
  meta.transferEnd();
  object->dataset.transferInit();
  const bool body_done =
      object->dataset.write(out, ours, EET_ExplicitLength, &cache, EGL_withoutGL, EPD_withoutPadding, 0, 0, 0).good();
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

/* ---- reading ---- */

namespace {

/* The parser calls itself once a nested sequence. What it is fed through is called at the bottom of that, and knows how
 * deep it is: a nest of millions would fill the stack. */
const ptrdiff_t stack_max = 512 << 10;

struct too_deep {};

/* The parser looks for the place of each attribute among those before it, one after the other: a hundred thousand that
 * are not in order take minutes. Each is about five reads; an ECG with all its annotations has some thousands. */
const unsigned reads_max = 1u << 18;

struct too_many {};

class Memory : public DcmProducer {
public:
  Memory(const uint8_t *bytes, size_t n)
      : bytes_(bytes), n_(static_cast<offile_off_t>(n)), top_(static_cast<char *>(__builtin_frame_address(0))) {}
  OFBool good() const override {
    return OFTrue;
  }
  OFCondition status() const override {
    return EC_Normal;
  }
  OFBool eos() override {
    return at_ == n_;
  }
  offile_off_t avail() override {
    return n_ - at_;
  }
  offile_off_t read(void *to, offile_off_t n) override {
    if (top_ - static_cast<char *>(__builtin_frame_address(0)) > stack_max)
      throw too_deep();
    if (++reads_ > reads_max)
      throw too_many();
    n = within(n);
    memcpy(to, bytes_ + at_, static_cast<size_t>(n));
    at_ += n;
    return n;
  }
  offile_off_t skip(offile_off_t n) override {
    n = within(n);
    at_ += n;
    return n;
  }
  void putback(offile_off_t n) override {
    at_ -= n < at_ ? n : at_;
  }

private:
  offile_off_t within(offile_off_t n) const {
    return n < 0 ? 0 : n < n_ - at_ ? n : n_ - at_;
  }
  const uint8_t *bytes_;
  offile_off_t n_, at_ = 0;
  const char *top_;
  unsigned reads_ = 0;
};

/* Without a factory, every value is loaded at once. */
class MemoryStream : public DcmInputStream {
public:
  MemoryStream(const uint8_t *bytes, size_t n) : DcmInputStream(&memory_), memory_(bytes, n) {}
  DcmInputStreamFactory *newFactory() const override {
    return nullptr;
  }

private:
  Memory memory_;
};

void teach(const dicom_tag *known, size_t n) {
  DcmDataDictionary &dictionary = dcmDataDict.wrlock();
  for (size_t i = 0; i < n; i++) {
    const DcmTag tag = tag_of(known[i]);
    dictionary.addEntry(new DcmDictEntry(tag.getGroup(), tag.getElement(), tag.getEVR(), "", 1, DcmVariableVM, nullptr,
                                         OFFalse, nullptr));
  }
  dcmDataDict.wrunlock();
}

/* What the head says the dataset is written in; EXS_Unknown without a head, when the toolkit looks for itself. */
bool read_syntax(MemoryStream &in, E_TransferSyntax &ret, const char *&why) {
  DcmMetaInfo meta;
  const char *uid = nullptr;
  meta.transferInit();
  const bool read = meta.read(in, EXS_Unknown, EGL_noChange, DCM_MaxReadLength).good();
  meta.transferEnd();
  why = "a damaged head";
  if (!read)
    return false;
  if (meta.card() == 0) {
    ret = EXS_Unknown;
    return true;
  }
  if (meta.findAndGetString(DCM_TransferSyntaxUID, uid).bad() || !uid)
    return false;
  ret = DcmXfer(uid).getXfer();
  why = ret == EXS_DeflatedLittleEndianExplicit ? "a deflated file" : "a transfer syntax that is not known";
  return ret != EXS_Unknown && ret != EXS_DeflatedLittleEndianExplicit;
}

bool read_file(dicom *object, const uint8_t *file, size_t n, const char *&why) {
  MemoryStream in(file, n);
  E_TransferSyntax syntax;
  if (!read_syntax(in, syntax, why))
    return false;
  object->dataset.transferInit();
  const bool read = object->dataset.read(in, syntax, EGL_noChange, DCM_MaxReadLength).good();
  const bool whole = object->dataset.transferState() == ERW_ready;
  object->dataset.transferEnd();
  object->syntax = object->dataset.getOriginalXfer();
  why = "its attributes are damaged or cut short";
  return read && whole;
}

int read_element(dicom *object, DcmElement *element, dicom_value *ret) {
  Uint8 *bytes = nullptr;
  Uint16 *words = nullptr;
  char *text = nullptr;
  Uint32 n = 0;
  *ret = {reinterpret_cast<const uint8_t *>(""), 0, 0};
  switch (element->getVR()) {
  case EVR_US:
  case EVR_UL:
  case EVR_SS:
  case EVR_SL:
    if (element->getOFStringArray(object->numbers).bad())
      return 0;
    *ret = {reinterpret_cast<const uint8_t *>(object->numbers.c_str()), object->numbers.size(), 0};
    return 1;
  case EVR_OW:
    if (element->getUint16Array(words).bad())
      return 0;
    if (words)
      *ret = {reinterpret_cast<const uint8_t *>(words), element->getLength(), 1};
    return 1;
  case EVR_OB:
  case EVR_UN:
    if (element->getUint8Array(bytes).bad())
      return 0;
    if (bytes)
      *ret = {bytes, element->getLength(), 0};
    return 1;
  default:
    if (!element->isaString() || element->getString(text, n).bad())
      return 0;
    if (text)
      *ret = {reinterpret_cast<const uint8_t *>(text), n, 0};
    return 1;
  }
}

void add_piece(dicom *object, Uint8 *bytes, size_t n) {
  static Uint8 none;
  object->pieces.push_back({bytes ? bytes : &none, bytes ? n : 0});
}

/* The offset table and the fragments of Pixel Data as they stand in the file. */
bool add_fragments(dicom *object, DcmPixelData *pixels) {
  DcmPixelSequence *sequence = nullptr;
  E_TransferSyntax original = EXS_Unknown;
  const DcmRepresentationParameter *parameter = nullptr;
  pixels->getOriginalRepresentationKey(original, parameter);
  if (!DcmXfer(original).isEncapsulated() || pixels->getEncapsulatedRepresentation(original, parameter, sequence).bad())
    return false;
  for (DcmObject *o = nullptr; (o = sequence->nextInContainer(o));) {
    Uint8 *bytes = nullptr;
    DcmPixelItem *fragment = OFstatic_cast(DcmPixelItem *, o);
    if (fragment->getUint8Array(bytes).bad())
      return false;
    add_piece(object, bytes, fragment->getLength());
  }
  return true;
}

} // namespace

int dicom_read(const uint8_t *file, size_t n, const dicom_tag *known, size_t n_known, dicom **ret,
               const char **ret_why) {
  dicom *object = dicom_create();
  int r = object ? 0 : -ENOMEM;
  try {
    const char *why = "";
    if (r == 0) {
      dcmEnableUnknownVRConversion.set(OFTrue); /* a known tag may stand as UN */
      teach(known, n_known);
      r = read_file(object, file, n, why) ? 0 : -EPROTO;
      *ret_why = why;
    }
  } catch (const too_deep &) {
    *ret_why = "sequences nested too deep";
    r = -EPROTO;
  } catch (const too_many &) {
    *ret_why = "more attributes than a reading has";
    r = -EPROTO;
  } catch (const std::bad_alloc &) {
    r = -ENOMEM;
  } catch (...) {
    *ret_why = "the toolkit does not take it";
    r = -EPROTO;
  }
  if (r == 0)
    *ret = object;
  else
    dicom_destroy(object);
  return r;
}

const char *dicom_transfer_syntax(const dicom *object) {
  return DcmXfer(object->syntax).getXferID();
}

int dicom_error(const dicom *object) {
  return object->err;
}

int dicom_get(dicom_item at, dicom_tag tag, dicom_value *ret) {
  int found = 0;
  guarded(at.object, [&] {
    DcmElement *element = nullptr;
    if (item_of(at)->findAndGetElement(tag_of(tag), element).good())
      found = read_element(at.object, element, ret);
    return true;
  });
  return found;
}

int dicom_next(dicom_item at, dicom_tag sequence, dicom_item *item) {
  DcmObject *next = nullptr;
  guarded(at.object, [&] {
    DcmElement *element = nullptr;
    if (item_of(at)->findAndGetElement(tag_of(sequence), element).good() && element->ident() == EVR_SQ)
      next = element->nextInContainer(static_cast<DcmItem *>(item->item));
    return true;
  });
  *item = {at.object, OFstatic_cast(DcmItem *, next)};
  return next != nullptr;
}

int dicom_pixel_data(dicom *object, dicom_pixels *ret) {
  bool there = false;
  guarded(object, [&] {
    DcmElement *element = nullptr;
    Uint8 *bytes = nullptr;
    object->pieces.clear();
    if (object->dataset.findAndGetElement(DCM_PixelData, element).bad() || element->ident() != EVR_PixelData)
      return true;
    DcmPixelData *pixels = OFstatic_cast(DcmPixelData *, element);
    const bool encapsulated = DcmXfer(object->syntax).isEncapsulated();
    there = encapsulated ? add_fragments(object, pixels) : pixels->getUint8Array(bytes).good();
    if (there && !encapsulated)
      add_piece(object, bytes, pixels->getLength());
    *ret = {object->pieces.data(), object->pieces.size(), encapsulated};
    return true;
  });
  return there;
}
