"""The losses as their definitions stand, with every matrix built: what `benchmarks/losses.py` measures against.

Written for being read, in the way of the papers and public codes; maps are `(N, C, H, W)`, `s` the student's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def vectors(maps: Tensor) -> Tensor:
    """Unit vectors of all pixels, `(N, P, C)`."""
    return F.normalize(maps.flatten(2).transpose(1, 2), dim=-1)


def mean_square(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).square().mean()


def cross_entropy(s: Tensor, labels: Tensor) -> Tensor:
    s = F.interpolate(s, labels.shape[-2:], mode="bilinear", align_corners=True)
    return F.cross_entropy(s, labels, ignore_index=255)


def pixel_kd(s: Tensor, t: Tensor, temperature: float) -> Tensor:
    classes = s.shape[1]
    log_s = F.log_softmax(s / temperature, 1).permute(0, 2, 3, 1).reshape(-1, classes)
    p_t = F.softmax(t / temperature, 1).permute(0, 2, 3, 1).reshape(-1, classes)
    return temperature**2 * F.kl_div(log_s, p_t, reduction="batchmean")


def channel_wise(s: Tensor, t: Tensor, temperature: float) -> Tensor:
    batch, channels = s.shape[:2]
    log_s, log_t = ((m.flatten(2) / temperature).softmax(-1).log() for m in (s, t))
    return temperature**2 / (batch * channels) * (log_t.exp() * (log_t - log_s)).sum()


def all_pairs_of_channels(maps: Tensor) -> Tensor:
    """For every pixel its products with all circular shifts of itself, `(N, P, C * C)`."""
    f = vectors(maps)
    return torch.cat([f * f.roll(shift, -1) for shift in range(f.shape[-1])], -1)


def csc_a(s: Tensor, t: Tensor) -> Tensor:
    g_s, g_t = all_pairs_of_channels(s), all_pairs_of_channels(t)
    return mean_square(g_s @ g_s.mT, g_t @ g_t.mT)


def csc_a0(s: Tensor, t: Tensor) -> Tensor:
    return mean_square(all_pairs_of_channels(s), all_pairs_of_channels(t))


def csc_b(s: Tensor, t: Tensor) -> Tensor:
    def relation(maps: Tensor) -> Tensor:
        f = vectors(maps)
        r = torch.stack([(f * f.roll(shift, -1)).sum(-1) for shift in range(f.shape[-1])], -1)
        return r @ r.mT

    return mean_square(relation(s), relation(t))


def csc_c(s: Tensor, t: Tensor) -> Tensor:
    f_s, f_t = vectors(s), vectors(t)
    shifts = range(f_s.shape[-1])
    apart = [mean_square(f_s @ f_s.roll(k, -1).mT, f_t @ f_t.roll(k, -1).mT) for k in shifts]
    return torch.stack(apart).mean()


def csc_d(s: Tensor, t: Tensor) -> Tensor:
    v_s, v_t = (vectors(m).flatten(1)[:, :, None] for m in (s, t))
    return mean_square(v_s @ v_s.mT, v_t @ v_t.mT)


def csc_e(s: Tensor, t: Tensor) -> Tensor:
    f_s, f_t = vectors(s), vectors(t)
    pixels = f_s.shape[1]
    return mean_square(f_s @ f_s.mT, f_t @ f_t.mT) + mean_square(f_s.mT @ f_s / pixels, f_t.mT @ f_t / pixels)


def adaptive_cross_entropy(s: Tensor, t: Tensor, labels: Tensor) -> Tensor:
    s, t = (F.interpolate(m, labels.shape[-2:], mode="bilinear", align_corners=True) for m in (s, t))
    valid = labels != 255
    one_hot = F.one_hot(labels.where(valid, 0), s.shape[1]).permute(0, 3, 1, 2).float()
    right = (t.argmax(1) == labels)[:, None]
    target = torch.where(right, t.softmax(1), one_hot)
    return -(target * s.log_softmax(1)).sum(1)[valid].mean()


def pairwise(s: Tensor, t: Tensor, pool: int) -> Tensor:
    f_s, f_t = (vectors(F.max_pool2d(m, pool, pool, ceil_mode=True)) for m in (s, t))
    return mean_square(f_s @ f_s.mT, f_t @ f_t.mT)


def knowledge_affinity(s: Tensor, t: Tensor) -> Tensor:
    """Of every channel the products of all its pixels."""
    u_s, u_t = (F.normalize(m.flatten(2), dim=-1)[..., None] for m in (s, t))
    losses = [mean_square(a @ a.mT, b @ b.mT) for a, b in zip(u_s.unbind(1), u_t.unbind(1), strict=True)]
    return torch.stack(losses).mean() * s[0, 0].numel() ** 2


def channel_correlation(s: Tensor, t: Tensor) -> Tensor:
    def correlation(maps: Tensor) -> Tensor:
        x = maps.flatten(2)
        return F.normalize(x @ x.mT, dim=-1)

    return (correlation(s) - correlation(t)).square().sum() / s.shape[1] / len(s)


def pearson(s: Tensor, t: Tensor) -> Tensor:
    def standard(maps: Tensor) -> Tensor:
        x = maps.transpose(0, 1).flatten(1)
        return (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-6)

    return mean_square(standard(s), standard(t)) / 2


def cross_image_relation(s: Tensor, t: Tensor, temperature: float) -> Tensor:
    f_s, f_t = vectors(s), vectors(t)
    losses = []
    for i in range(len(s)):
        for j in range(len(s)):
            log_s = F.log_softmax(f_s[i] @ f_s[j].T / temperature, 1)
            p_t = F.softmax(f_t[i] @ f_t[j].T / temperature, 1)
            losses.append(F.kl_div(log_s, p_t, reduction="batchmean"))
    return torch.stack(losses).mean()


def fitnet(s: Tensor, t: Tensor) -> Tensor:
    return F.mse_loss(s, t)


def attention_transfer(s: Tensor, t: Tensor) -> Tensor:
    a_s, a_t = (F.normalize(m.square().mean(1).flatten(1), dim=1) for m in (s, t))
    return mean_square(a_s, a_t)


def local_affinity(s: Tensor, t: Tensor) -> Tensor:
    """All eight neighbours laid out beside every pixel."""

    def affinity(maps: Tensor) -> Tensor:
        batch, channels, height, width = maps.shape
        patches = F.unfold(F.pad(maps, (1, 1, 1, 1), mode="replicate"), 3).view(batch, channels, 9, height, width)
        return (patches - maps[:, :, None]).square().sum((1, 2))

    return mean_square(affinity(s), affinity(t))


def intra_class_variation(s: Tensor, t: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Class by class, as the public code does it: a full map of prototypes for each."""
    labels = F.interpolate(labels[:, None].float(), s.shape[-2:], mode="nearest")

    def similarity(maps: Tensor) -> Tensor:
        centres = maps.clone()
        for label in range(num_classes):
            mask = (labels == label).float()
            mean = (mask * maps).sum((-2, -1)) / (mask.sum((-2, -1)) + 1e-6)
            centres = (1 - mask) * centres + mask * mean[:, :, None, None]
        return F.cosine_similarity(maps, centres, dim=1)

    return mean_square(similarity(s), similarity(t))


def dist(s: Tensor, t: Tensor) -> Tensor:
    def correlation(a: Tensor, b: Tensor) -> Tensor:
        return F.cosine_similarity(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True), dim=1).mean()

    p_s, p_t = (m.permute(0, 2, 3, 1).reshape(-1, m.shape[1]).softmax(1) for m in (s, t))
    return 2 - correlation(p_s, p_t) - correlation(p_s.T, p_t.T)


def pixel_similarity(s: list[Tensor], t: list[Tensor]) -> Tensor:
    def residuals(maps: list[Tensor]) -> list[Tensor]:
        a = [F.normalize(m.square().mean(1).flatten(1), dim=1) for m in maps]
        return [F.normalize(a[i] - a[j], dim=1) for i in range(len(a)) for j in range(i + 1, len(a))]

    return torch.stack([mean_square(a, b) for a, b in zip(residuals(s), residuals(t), strict=True)]).mean()


def category_similarity(s: Tensor, t: Tensor) -> Tensor:
    def similarity(maps: Tensor) -> Tensor:
        q = F.avg_pool2d(maps, 2).flatten(2).div(4).softmax(-1)
        return q @ q.mT

    return mean_square(similarity(s), similarity(t))


def cka_of_images(s: Tensor, t: Tensor) -> Tensor:
    x, y = s.flatten(1), t.flatten(1)
    centring = torch.eye(len(x)) - 1 / len(x)
    centring = centring.to(x)

    def hsic(a: Tensor, b: Tensor) -> Tensor:
        return ((centring @ a @ a.T @ centring) * (centring @ b @ b.T @ centring)).sum()

    return -((hsic(x, y) / (hsic(x, x) * hsic(y, y)).sqrt()).abs() + 1e-8).log()


def channel_attention(features: Tensor, temperature: float, gamma: float) -> Tensor:
    x = features.flatten(2)
    energy = x @ x.mT
    attention = ((energy.amax(-1, keepdim=True) - energy) / temperature).softmax(-1)
    return gamma * (attention @ x).view_as(features) + features


def cam_cka(s: Tensor, t: Tensor, temperature: float, gamma: float) -> Tensor:
    return cka_of_images(channel_attention(s, temperature, gamma), channel_attention(t, temperature, gamma))


def position_attention(features: Tensor, weight: Tensor, bias: Tensor, temperature: float, gamma: float) -> Tensor:
    tokens = F.linear(features.flatten(2).mT, weight, bias)
    queries = (weight.shape[0] - features.shape[1]) // 2
    q, k, v = tokens.split([queries, queries, features.shape[1]], -1)
    attention = (q @ k.mT / temperature).softmax(-1)
    return gamma * (attention @ v).mT.reshape(features.shape) + features


def pam_cka(s: Tensor, t: Tensor, projections: tuple, temperature: float, gamma: float) -> Tensor:
    """Without a grid."""
    (w_s, b_s), (w_t, b_t) = projections
    attended = (
        position_attention(s, w_s, b_s, temperature, gamma),
        position_attention(t, w_t, b_t, temperature, gamma),
    )
    return cka_of_images(*attended)
