"""The decoders of images and label files: every kind of file is read exactly or refused by its name."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from kdtrain import InputError, TrainConfig
from kdtrain.data import VOC, CamVid, Folder, Unlabelled, open_role
from kdtrain.data.decode import image_reading, is_silently_turned, label_reading, read_colors, read_ids, read_image
from kdtrain.data.files import files_digest
from kdtrain.data.labels import LabelColors, LabelIds

ORIENTATION = 0x0112
IDS = np.array([[0, 1, 2], [3, 1, 0]], dtype=np.uint8)


def png(bits, color_type, rows, width, *extra, interlaced=0):
    """A PNG file from its packed rows, with further chunks `(type, data)` before the pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, color_type, 0, 0, interlaced)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), *extra, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def saved(image, form="png", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def with_palette(ids, colors):
    image = Image.fromarray(np.asarray(ids, dtype=np.uint8))
    image.putpalette([value for color in colors for value in color])
    return image


@pytest.fixture
def put(tmp_path):
    def write(content, name="a.png"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else saved(content))
        return file

    return write


GRAY_16 = np.array([[0, 255, 256], [0x7FFF, 0x8000, 0xFFFF]], dtype=np.uint16)
PHOTO = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14


@pytest.mark.parametrize("form", ["png", "tiff"])
def test_16_bit_gray_keeps_its_high_byte_as_16_bit_rgb_does(put, form):
    image = read_image(put(saved(Image.fromarray(GRAY_16), form)))
    np.testing.assert_array_equal(image, np.repeat([[[0], [0], [1]], [[127], [128], [255]]], 3, axis=2))
    rgb = png(16, 2, [struct.pack(">9H", *np.repeat(row, 3)) for row in GRAY_16], 3)
    np.testing.assert_array_equal(read_image(put(rgb)), image)


@pytest.mark.parametrize(
    ("image", "form", "mode"),
    [
        (Image.fromarray(np.full((2, 3), 0.5, dtype=np.float32)), "tiff", "F"),
        (Image.fromarray(np.full((2, 3), 70_000, dtype=np.int32)), "tiff", "I"),
        (Image.fromarray(np.full((2, 3), 300, dtype=np.int32)), "ppm", "I"),
    ],
)
def test_samples_of_unknown_range_are_refused_with_file_mode_and_remedy(put, image, form, mode):
    file = put(saved(image, form))
    with pytest.raises(InputError, match=rf"image .*a\.png must be .* got the mode {mode} .*; scale it to 0 to 255"):
        read_image(file)


def tiff(bits, photometric, pixels):
    """A TIFF file of one row of two gray pixels."""
    tags = {256: 2, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 1, 279: len(pixels)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = 8 + len(pixels) + len(pixels) % 2
    body = pixels + bytes(len(pixels) % 2) + struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", start) + body


def test_gray_tiff_files_of_other_ranges_are_refused(put):
    assert read_image(put(tiff(16, 1, b"\0\x80\xff\xff")))[..., 0].tolist() == [[128, 255]]
    for content in (tiff(16, 0, b"\0\x80\xff\xff"), tiff(12, 1, b"\xff\xff\xff")):
        with pytest.raises(InputError, match=r"a\.png must be an image of 8 or 16 bits.*scale it to 0 to 255"):
            read_image(put(content))


@pytest.mark.parametrize("largest", [1, 255, 4095])
def test_small_values_in_16_bits_are_refused_instead_of_read_as_black(put, largest):
    with pytest.raises(InputError, match=rf"a\.png has 16 bits of gray, of which its largest value {largest} uses"):
        read_image(put(Image.fromarray(np.array([[0, largest]], dtype=np.uint16))))
    with pytest.raises(InputError, match=r"a\.png has 16 bits per channel, of which all values are below 4096"):
        read_image(put(png(16, 2, [struct.pack(">3H", 0, largest, 0)], 1)))
    for darkest in (0, 4096):
        assert read_image(put(Image.fromarray(np.array([[darkest]], dtype=np.uint16)))).max() == darkest >> 8


@pytest.mark.parametrize("form", ["png", "jpeg", "tiff"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
def test_images_are_read_as_they_are_shown(put, form, orientation):
    photo = np.zeros((16, 24, 3), dtype=np.uint8)
    photo[:8, :8] = 200  # the top left corner
    ways = {1: photo, 2: photo[:, ::-1], 3: photo[::-1, ::-1], 4: photo[::-1]}
    ways |= {code: way.transpose(1, 0, 2) for code, way in ((5, ways[1]), (8, ways[2]), (7, ways[3]), (6, ways[4]))}
    image = read_image(put(saved(Image.fromarray(photo), form, exif=turned(orientation))))
    assert image.shape == ways[orientation].shape
    np.testing.assert_allclose(image.astype(int), ways[orientation], atol=4)


def test_label_maps_with_an_orientation_are_turned_as_images_are(put):
    file = put(saved(Image.fromarray(IDS), exif=turned(3)))
    np.testing.assert_array_equal(read_ids(file)[0], IDS[::-1, ::-1])


def test_an_image_that_is_turned_and_a_label_map_that_is_not_are_told_apart(put, tmp_path):
    put(saved(Image.fromarray(PHOTO), exif=turned(6)), "images/a.png")
    put(Image.fromarray(IDS), "labels/a.png")
    put(Image.fromarray(PHOTO), "images/b.png")
    put(Image.fromarray(IDS), "labels/b.png")
    source = folder(classes=("a", "b", "c", "d")).open(tmp_path)
    role = "train" if "a" in source.ids("train") else "select"
    with pytest.raises(InputError, match=r"is 2x3 pixels, its label map .* 3x2, after their EXIF orientations 6 and 1"):
        source.read(role, "a")
    put(saved(Image.fromarray(IDS), exif=turned(6)), "labels/a.png")
    image, labels = source.read(role, "a")
    assert image.shape[:2] == labels.shape == (3, 2)


@pytest.mark.parametrize("form", ["png", "jpeg", "tiff"])
@pytest.mark.parametrize(
    ("orientation", "size", "of_label", "silent"),
    [
        (1, (4, 4), 1, False),
        (3, (4, 6), 1, True),
        (3, (4, 6), 3, False),
        (6, (4, 6), 1, False),  # its size shows that it is turned
        (6, (4, 4), 1, True),
    ],
)
def test_images_whose_orientation_does_not_show_in_their_size(put, form, orientation, size, of_label, silent):
    options = {} if orientation == 1 else {"exif": turned(orientation)}
    image = put(saved(Image.new("RGB", size), form, **options), "image")
    label_map = put(saved(Image.new("L", size), **({} if of_label == 1 else {"exif": turned(of_label)})), "label_map")
    assert is_silently_turned(image, label_map) is silent
    assert not is_silently_turned(put(b"nothing", "bad"), label_map)


def test_the_photo_of_a_jpeg_with_previews_is_read(put):
    frames = [Image.new("RGB", (16, 8), color) for color in ((200, 0, 0), (0, 0, 200))]
    file = put(saved(frames[0], "mpo", save_all=True, append_images=frames[1:]))
    np.testing.assert_allclose(read_image(file)[4, 8].astype(int), [200, 0, 0], atol=4)
    with pytest.raises(InputError, match="without loss, got MPO"):
        read_ids(file)


def test_the_other_modes_of_images(put):
    photo = Image.fromarray(PHOTO)
    opaque = photo.convert("RGBA")
    for image, form in ((photo, "png"), (opaque, "png"), (photo, "tiff"), (photo, "bmp"), (photo, "webp")):
        options = {"lossless": True} if form == "webp" else {}
        np.testing.assert_array_equal(read_image(put(saved(image, form, **options))), PHOTO)
    for mode in ("CMYK", "YCbCr"):
        file = put(saved(photo.convert(mode), "tiff", compression="tiff_lzw"))  # Pillow 12 reads no plain YCbCr
        np.testing.assert_allclose(read_image(file).astype(int), PHOTO, atol=2)
    mask = Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1")
    np.testing.assert_array_equal(read_image(put(mask))[..., 0], [[0, 255]])


def transparent_rgba():
    image = Image.fromarray(PHOTO).convert("RGBA")
    image.putpixel((1, 1), (9, 9, 9, 254))
    return saved(image)


def transparent_palette():
    return saved(with_palette([[0, 1]], [(1, 2, 3), (4, 5, 6)]), transparency=1)


def transparent_gray():
    return png(8, 0, [bytes([0, 7])], 2, (b"tRNS", b"\0\7"))


def transparent_16_bit():
    return png(16, 0, [struct.pack(">2H", 0, 7)], 2, (b"tRNS", b"\0\7"))


@pytest.mark.parametrize("made", [transparent_rgba, transparent_palette, transparent_gray])
def test_transparent_pixels_are_refused_in_images_and_colored_labels(put, made):
    file = put(made())
    for read in (read_image, lambda file: read_colors(file, True)):
        with pytest.raises(InputError, match=r"a\.png has transparent pixels.*without transparency"):
            read(file)


def test_16_bit_images_with_a_transparent_gray_are_refused(put):
    with pytest.raises(InputError, match=r"a\.png must be an image of 8 or 16 bits.* got the mode I;16"):
        read_image(put(transparent_16_bit()))


def test_ids_are_read_whatever_is_transparent(put):
    np.testing.assert_array_equal(read_ids(put(transparent_palette()))[0], [[0, 1]])
    np.testing.assert_array_equal(read_ids(put(transparent_gray()))[0], [[0, 7]])


@pytest.mark.parametrize("form", ["png", "tiff", "gif"])
def test_files_of_several_frames_are_refused(put, form):
    frames = [Image.fromarray(np.full((2, 3), value, dtype=np.uint8)) for value in (0, 1)]
    file = put(saved(frames[0], form, save_all=True, append_images=frames[1:]))
    for read in (read_image, read_ids, lambda file: read_colors(file, True)):
        with pytest.raises(InputError, match=r"a\.png holds 2 frames; keep the one that counts"):
            read(file)


TOO_LARGE = zlib.compress(b"x" * 2_000_000)


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_large_texts_and_profiles_in_a_png_are_refused_by_the_files_name(put, kind):
    file = put(png(8, 0, [bytes(3)], 3, (kind, b"a\0\0" + TOO_LARGE)), "large.png")
    for read in (read_image, read_ids):
        with pytest.raises(InputError, match=r"cannot read the image file .*large\.png: .*too large.*; save it again"):
            read(file)


def test_every_bit_of_a_png_counts(put):
    """A flipped bit of compressed pixels often decodes to other ids without an error of the decoder."""
    noise = np.random.default_rng(0).integers(0, 4, size=(32, 32), dtype=np.uint8)
    good = saved(Image.fromarray(noise))
    for place in range(good.index(b"IDAT") + 4, len(good) - 16, 5):
        bad = bytearray(good)
        bad[place] ^= 1
        with pytest.raises(InputError, match=r"cannot read the image file .*a\.png"):
            read_ids(put(bytes(bad)))


def test_damaged_and_foreign_files_are_named(put, monkeypatch):
    photo = saved(Image.fromarray(np.tile(PHOTO, (20, 20, 1))), "jpeg")
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    for content in (b"", photo[: len(photo) // 2], postscript):
        with pytest.raises(InputError, match=r"cannot read the image file .*a\.png"):
            read_image(put(content))
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # by a module of the user
    with pytest.raises(InputError, match=r"cannot read the image file .*a\.png: .*truncated"):
        read_image(put(photo[: len(photo) // 2]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match=r"cannot read the image file .*a\.png: .*decompression bomb"):
        read_image(put(photo))


@pytest.mark.parametrize(("bits", "rows"), [(2, [0b00011011]), (4, [0x01, 0x23]), (8, [0, 1, 2, 3])])
@pytest.mark.parametrize("color_type", [0, 3])
def test_ids_of_few_bits_are_read_as_they_are_in_the_file(put, bits, rows, color_type):
    palette = [(b"PLTE", bytes(range(1, 13)))] if color_type == 3 else []
    np.testing.assert_array_equal(read_ids(put(png(bits, color_type, [bytes(rows)], 4, *palette)))[0], [[0, 1, 2, 3]])


def test_interlaced_label_maps_are_read(put):
    np.testing.assert_array_equal(read_ids(put(png(4, 0, [b"\x50"], 1, interlaced=1)))[0], [[5]])


GRAYS = [(0, 0, 0), (255, 255, 255)]


def bmp(bits, colors, *packed_rows):
    """A BMP file of two pixels per row with a palette."""
    pixels = b"".join(row.ljust(4, b"\0") for row in packed_rows)
    start = 14 + 40 + 4 * len(colors)
    header = struct.pack("<IiiHHIIiiII", 40, 2, len(packed_rows), 1, bits, 0, len(pixels), 0, 0, len(colors), 0)
    palette = b"".join(bytes((*color[::-1], 0)) for color in colors)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + palette + pixels


def test_bmp_files_are_read_where_their_depth_is_exact(put):
    identity = [(i, i, i) for i in range(16)]
    np.testing.assert_array_equal(read_ids(put(bmp(4, [(i, 0, 9) for i in range(16)], b"\x12")))[0], [[1, 2]])
    np.testing.assert_array_equal(read_ids(put(bmp(8, identity, b"\1\2")))[0], [[1, 2]])
    np.testing.assert_array_equal(read_colors(put(bmp(1, GRAYS, b"\x40")), True)[..., 0], [[0, 255]])
    for content in (bmp(4, identity, b"\x12"), bmp(8, GRAYS, b"\0\1"), bmp(4, GRAYS, b"\x01")):
        for read in (read_image, read_ids, lambda file: read_colors(file, True)):
            with pytest.raises(InputError, match=r"a\.png is a BMP whose gray pixels are packed.*save it as PNG"):
                read(put(content))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (saved(Image.fromarray(GRAY_16)), r"8-bit .* got the mode I;16.*save it as 8-bit ids"),
        (saved(Image.fromarray(IDS).convert("LA")), r"got the mode LA"),
        (saved(Image.fromarray(PHOTO)), r"got the mode RGB.*data\.label_colors"),
        (saved(Image.fromarray(IDS).convert("1")), r"got the mode 1; .*data\.label_colors"),
        (saved(Image.fromarray(IDS), "jpeg"), r"PNG, BMP, DIB, TIFF without loss, got JPEG"),
        (saved(Image.fromarray(IDS), "webp"), r"without loss, got WEBP"),
        (saved(Image.fromarray(IDS), "tiff", compression="jpeg"), r"without loss, got TIFF jpeg"),
        (saved(Image.fromarray(IDS), "tiff", tiffinfo={262: 0}), r"raw mode L;I"),
        (saved(with_palette([[0, 1]], GRAYS)), r"gray palette whose entry 1 is the gray 255.*data\.label_colors"),
        (saved(with_palette([[0, 1]], GRAYS[::-1])), r"gray palette whose entry 0 is the gray 255"),
    ],
)
def test_label_maps_whose_ids_are_not_certain_are_refused(put, content, says):
    with pytest.raises(InputError, match=r"the label map .*a\.png " + ".*" + says):
        LabelIds(2).decode(put(content))


RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def test_palettes_must_agree_where_files_use_them(put):
    labels = LabelIds(3)
    labels.decode(put(with_palette([[0, 1]], [RED, GREEN, BLUE]), "one.png"))
    labels.decode(put(with_palette([[0, 2]], [RED, BLUE, BLUE]), "two.png"))
    labels.decode(put(Image.fromarray(IDS), "plain.png"))
    with pytest.raises(InputError, match=r"one\.png and .*three\.png differ: the entry 1 is #00ff00 .* #0000ff in the"):
        labels.decode(put(with_palette([[1]], [RED, BLUE]), "three.png"))


def folder(**changes):
    where = {"train": {"images": "images", "labels": "labels"}, "select": {"from_train": 0.5}}
    return Folder(**({"classes": ("back", "thing"), "folders": where} | changes))


def test_palettes_must_agree_in_a_whole_data_set(put, tmp_path):
    for name, colors in (("a", [RED, GREEN]), ("b", [RED, GREEN]), ("c", [RED, BLUE])):
        put(Image.fromarray(PHOTO[:1, :2]), f"images/{name}.png")
        put(with_palette([[0, 1]], colors), f"labels/{name}.png")
    source = folder().open(tmp_path)
    with pytest.raises(InputError, match=r"the entry 1 is #"):
        [source.read_labels(role, image_id) for role in ("train", "select") for image_id in source.ids(role)]


BLACK_AND_WHITE = {"#000000": 0, "#FFFFFF": 1}


def test_a_table_of_colors_reads_masks_and_colored_labels(put):
    data = folder(label_colors={"#800000": 0, "#008000": 0, "#0000fF": 1}, ignore_colors=("#e0e0c0",))
    colored = np.array([[[128, 0, 0], [0, 128, 0]], [[0, 0, 255], [224, 224, 192]]], dtype=np.uint8)
    for image in (Image.fromarray(colored), Image.fromarray(colored).convert("P", palette=Image.Palette.ADAPTIVE)):
        file = put(image)
        labels = data._meaning()
        np.testing.assert_array_equal(labels.apply(labels.decode(file), file), [[0, 0], [1, 255]])
    masks = folder(label_colors=BLACK_AND_WHITE)._meaning()
    mask = Image.fromarray(np.array([[0, 255]], dtype=np.uint8))
    swapped = with_palette([[1, 0]], GRAYS[::-1])
    for image in (mask, mask.convert("1"), mask.convert("RGB"), mask.convert("RGBA"), mask.convert("LA"), swapped):
        file = put(image)
        np.testing.assert_array_equal(masks.apply(masks.decode(file), file), [[0, 1]])
    file = put(Image.fromarray(np.array([[0, 254]], dtype=np.uint8)))
    with pytest.raises(InputError, match=r"a\.png holds the color #fefefe, which stands for no class"):
        masks.apply(masks.decode(file), file)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (saved(Image.fromarray(PHOTO), "jpeg"), "without loss, got JPEG"),
        (saved(Image.fromarray(PHOTO).convert("CMYK"), "tiff"), "got the mode CMYK"),
        (png(16, 2, [bytes(6)], 1), r"got the mode RGB \(raw RGB;16B\)"),
        (saved(Image.fromarray(GRAY_16)), "got the mode I;16"),
    ],
)
def test_colored_labels_whose_colors_are_not_exact_are_refused(put, content, says):
    with pytest.raises(InputError, match=r"the label map .*a\.png .*" + says):
        LabelColors({(0, 0, 0): 0}, gray=True).decode(put(content))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"label_colors": {"#000000": 0}}, "no color to the class 'thing'"),
        ({"label_colors": BLACK_AND_WHITE | {"#00ff00": 2}}, "label_colors maps to 2"),
        ({"label_colors": {}}, r"must give each class a color in quotes, .*, got \{\}"),
        ({"label_colors": {"#000000": "thing"}}, "#000000 must have the index of its class, got 'thing'; write 1 for"),
        ({"ids": {0: 0, 7: "thing"}}, "7 must have the index of its class, got 'thing'; write 1 for thing"),
        ({"label_colors": {"#000000": "sky"}}, r"#000000 must have the index of its class, got 'sky' \[type"),
        ({"label_colors": {"#000": 0, "#ffffff": 1}}, "written #rrggbb, got '#000'"),
        ({"label_colors": {"#ABCDEF": 0, "#abcdef": 1}}, "the color #abcdef is given twice"),
        ({"label_colors": BLACK_AND_WHITE, "ignore_colors": ("#FFFFFF",)}, "#ffffff is both a class and ignored"),
        ({"label_colors": BLACK_AND_WHITE, "ids": {0: 0, 1: 1}}, "give one of them"),
        ({"label_colors": BLACK_AND_WHITE, "ignore": (7,)}, "give one of them"),
        ({"ignore_colors": ("#ffffff",)}, "belongs to label_colors"),
        ({"ids": {0: 0, 255: 1}}, r"255 a class, which is ignored by default: also give ignore.* ignore: \[\]"),
        ({"ids": {0: 0, 255: 1}, "ignore": (255,)}, "255 is both a class and ignored"),
    ],
)
def test_wrong_tables_of_colors_and_ids_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        folder(**changes)


def test_255_is_a_class_where_the_user_says_what_is_ignored(put):
    file = put(Image.fromarray(np.array([[0, 255, 9]], dtype=np.uint8)))
    labels = folder(ids={0: 0, 255: 1}, ignore=(9,))._meaning()
    np.testing.assert_array_equal(labels.apply(labels.decode(file), file), [[0, 1, 255]])
    config = TrainConfig(data=folder(ids={0: 0, 255: 1}, ignore=()))
    assert TrainConfig.parse(config.model_dump(mode="json")) == config


def test_later_fields_leave_the_id_of_a_config_alone():
    assert set(folder().hashed()) == {"name", "classes", "folders", "colors", "ids", "ignore", "group"}
    assert folder(absent=("thing",)).hashed() == folder().hashed()
    ids = [TrainConfig(data=CamVid(absent=absent)).config_id for absent in ((), ("Sky",))]
    assert ids[0] == ids[1]
    assert folder(label_colors=BLACK_AND_WHITE).hashed()["label_colors"] == {"#000000": 0, "#ffffff": 1}


def test_pictures_take_the_colors_of_the_label_files():
    assert folder(label_colors={"#ff0000": 1, "#00ff00": 0, "#0000ff": 1})._palette() == (GREEN, RED)


PLAIN = [saved(Image.fromarray(IDS)), saved(Image.fromarray(PHOTO)), saved(Image.fromarray(PHOTO), "jpeg"), b"nothing"]


def test_the_digest_changes_for_files_that_are_read_otherwise_than_before():
    assert [reading(content) for content in PLAIN for reading in (image_reading, label_reading)] == [""] * 8
    turned_png, turned_jpeg = (saved(Image.fromarray(PHOTO), form, exif=turned(6)) for form in ("png", "jpeg"))
    assert [image_reading(content) for content in (turned_png, turned_jpeg)] == ["orientation 6"] * 2
    assert image_reading(saved(Image.fromarray(GRAY_16))) == "16 bits"
    few_bits = png(4, 0, [b"\x01"], 2)
    assert (image_reading(few_bits), label_reading(few_bits)) == ("", "raw ids")
    assert image_reading(saved(Image.fromarray(PHOTO), "tiff", exif=turned(6))) == ""  # was always turned


def test_images_without_labels_go_through_the_same_decoder(put, tmp_path):
    put(Image.fromarray(GRAY_16), "night/a.png")
    source = Unlabelled(images="night", per_batch=1).open(tmp_path)
    assert source.read("unlabelled", "a")[0][1, 2].tolist() == [255, 255, 255]
    assert source.digest() != files_digest(b"unlabelled", {"a": (tmp_path / "night/a.png",)}, (lambda content: "",))


def test_the_digest_of_pairs_says_how_both_files_are_read(put, tmp_path):
    digests = set()
    for image in (Image.fromarray(PHOTO[:1, :2]), Image.fromarray(GRAY_16[:1, :2])):
        for label_bits in (8, 4):
            for name in "ab":
                put(image, f"images/{name}.png")
                put(png(label_bits, 0, [b"\x01" if label_bits == 4 else b"\0\1"], 2), f"labels/{name}.png")
            source = folder().open(tmp_path)
            (image_id,) = source.ids("train")
            files = {image_id: (tmp_path / f"images/{image_id}.png", tmp_path / f"labels/{image_id}.png")}
            plain = files_digest(source._identity("train"), files, (lambda content: "",) * 2)
            digests.add((label_bits, image.mode, source.digest("train") == plain))
    assert digests == {(8, "RGB", True), (8, "I;16", False), (4, "RGB", False), (4, "I;16", False)}


def test_published_data_sets_go_through_the_same_decoder(put, tmp_path):
    lists = tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n")
    for name, colors in (("a", [RED, GREEN]), ("b", [RED, GREEN])):
        put(Image.fromarray(PHOTO[:1, :2]), f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg")
        put(with_palette([[0, 1]], colors), f"VOCdevkit/VOC2012/SegmentationClass/{name}.png")
    assert len(open_role(VOC(), "train", tmp_path, tmp_path / "cache")) == 1
    put(with_palette([[0, 1]], GRAYS), "VOCdevkit/VOC2012/SegmentationClass/a.png")
    put(with_palette([[0, 1]], GRAYS), "VOCdevkit/VOC2012/SegmentationClass/b.png")
    with pytest.raises(InputError, match="gray palette"):
        open_role(VOC(), "train", tmp_path, tmp_path / "cache")
