"""Every environment variable once, typed, with its unit. Prefix TRANSFUSION_; S3 credentials are those of AWS."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def _without_credentials(url: str) -> str:
    if "@" in url.partition("//")[2].partition("/")[0]:
        raise ValueError("credentials do not belong into an endpoint, which errors and logs name")
    return url


Endpoint = Annotated[str, AfterValidator(_without_credentials)]


class AllowedLocation(BaseModel):
    """A part of a bucket from which datasets may be registered, and how it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    prefix: Annotated[str, StringConstraints(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$")]
    endpoint_url: Endpoint | None = None
    """The S3 server; the one of the service's own store unless given."""
    region: str | None = None
    profile: str | None = None
    """Name of credentials in the ordinary AWS files (`AWS_SHARED_CREDENTIALS_FILE`); the service's own unless given."""

    @model_validator(mode="before")
    @classmethod
    def _from_prefix(cls, written: object) -> object:
        return {"prefix": written} if isinstance(written, str) else written

    def holds(self, location: str) -> bool:
        """Whether a location is this one or lies below it."""
        below = self.prefix.rstrip("/")
        return location == below or location.startswith(f"{below}/")


class Settings(BaseSettings):
    """How this process runs. Passed on explicitly; nothing reads the environment behind its back."""

    model_config = SettingsConfigDict(
        env_prefix="TRANSFUSION_",
        use_attribute_docstrings=True,
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,  # what is wrong may be a URL with a password
    )

    mode: Literal["embedded", "service"] = "service"
    """`embedded` is `transfusion up`: loopback only, no keys, files of this machine can be registered."""
    database_url: str = Field("sqlite:///transfusion.db", repr=False)
    """SQLAlchemy URL: `postgresql+psycopg://...` or `sqlite:///FILE`."""
    broker_url: str = Field("memory://", repr=False)
    """Celery broker: `redis://...` or `memory://`."""
    store_url: str = "file:///tmp/transfusion-store"
    """`file:///dir` or `s3://bucket/prefix`."""
    s3_endpoint_url: Endpoint | None = None
    s3_public_endpoint_url: Endpoint | None = None
    """Where presigned links point. Without it, bytes of a store with an endpoint of its own go through the API."""
    s3_region: str = "us-east-1"
    store_seconds: float = Field(default=120.0, ge=0)
    """How long an S3 server that does not answer is asked again; requests of the API wait 5 s at most."""
    admin_key: SecretStr | None = None
    """Admin API key of 32 characters or more; one is made at the first start unless given. Once revoked it stays so."""
    admin_key_file: Path | None = None
    """Where a made admin key is kept between starts."""
    secret: SecretStr | None = None
    """What API keys are hashed with; made at the first start and kept in the database unless given. With another, no
    key that was made before fits."""
    allowed_hosts: list[str] = []
    """Names by which a service may be called (the Host header); any if empty."""
    behind_https: bool = False
    """Whether a proxy in front speaks https: then the cookies of the pages are for https alone."""
    cache_dir: Path = Path("/tmp/transfusion-cache")
    """A worker's local cache of pixels and checkpoints."""
    cache_bytes: int = Field(default=50_000_000_000, ge=0)
    """What the cache may hold; beyond that goes what was not used for longest, and never what is in use."""
    cache_seconds: float = Field(default=1_209_600.0, ge=0)
    """What was not used for so long goes too: copies of what was deleted do not stay for ever."""
    min_free_bytes: int = Field(default=200_000_000, ge=0)
    """With less than this free on the cache's disk a worker makes room, and claims nothing until there is some."""
    weights_dir: Path | None = None
    """Mirror of published weights for workers without a network: `<timm tag>.safetensors`, `.pth` or `.pt`."""
    allowed_locations: list[AllowedLocation] = []
    """From where in S3 datasets may be registered: prefixes `s3://bucket/...`, or objects of `prefix`, `endpoint_url`,
    `region` and `profile`, as JSON."""
    file_roots: list[Path] = []
    """Folders whose files may be registered in embedded mode, links followed; any folder, unless given."""
    max_body_bytes: int = Field(default=1_000_000, ge=1_000)
    body_seconds: float = Field(default=30.0, gt=0)
    """How long a request may wait for the next piece of its body, and an answer for its reader to take one."""
    whole_body_seconds: float = Field(default=60.0, gt=0)
    """How long a JSON or form body may take to come, however its pieces do; files that are uploaded may take longer."""
    api_processes: int = Field(default=1, ge=1)
    """Of the API, on one port: one answers with little more than one core. Limits of one process are those of each."""
    requests_per_second: float = Field(default=500.0, gt=0)
    """What one API key may ask of one process; twice as many at once after a pause."""
    max_requests: int = Field(default=500, ge=1)
    """Requests in work at once in one process, event streams apart."""
    max_streams: int = Field(default=500, ge=1)
    """Event streams open at once in one process."""
    max_drawings: int = Field(default=2, ge=1)
    """Plans, charts and reports in work at once in one process; ten times as many may wait."""
    max_upload_bytes: int = Field(default=20_000_000_000, ge=1)
    upload_part_bytes: int = Field(default=8 << 20, ge=5 << 20, le=1 << 30)
    """Of files that are uploaded in parts; larger where there would be more than 10,000."""
    sweep_seconds: float = Field(default=3600.0, gt=0)
    """Between two sweeps of the store for objects that nothing points at, one worker for all."""
    keep_unpointed_seconds: float = Field(default=86_400.0, ge=0)
    """Objects that no row names stay so long: their row may be on its way."""
    keep_uploads_seconds: float = Field(default=86_400.0, ge=0)
    """Uploads go so long after they came, or after the dataset that is made of them was read."""
    slots: int | None = Field(default=None, ge=1)
    """Jobs that a worker runs at once; one per GPU, or one per two processor cores (two at least), unless given."""
    gpus_per_job: int = Field(default=1, ge=1)
    """GPUs that a worker gives to each job; trainings whose `gpus` are more wait for another worker."""
    packing: int = Field(default=1, ge=1)
    """Jobs that share a GPU: small ones leave most of it idle. A job that gets too little memory halves its batches."""
    threads_per_job: int | None = Field(default=None, ge=1)
    """Processor threads per job; cores divided by slots unless given."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    poll_seconds: float = Field(default=5.0, gt=0)
    """Mean time between looks at the jobs table without a doorbell; embedded uses 0.2."""
    lease_seconds: float = Field(default=60.0, gt=0)
    beat_seconds: float = Field(default=10.0, gt=0)
    grace_seconds: float = Field(default=30.0, ge=0)
    """How long a child that was asked to stop may take before it is killed."""
    max_crashes: int = Field(default=3, ge=1)
    """A job whose child dies this often fails."""
    max_outages: int = Field(default=20, ge=1)
    """A job whose store is away, whose disk is full or whose worker is lost this often without progress fails."""
    retry_seconds: float = Field(default=1.0, gt=0)
    """The pause before a job is tried again; it doubles each time, up to a minute."""
    resume_seconds: float = Field(default=60.0, gt=0)
    """A training hands over where it stands this often, so that not more than this is lost with its process."""
    resume_steps: int | None = Field(default=None, ge=1)
    """And after every so many updates, if given."""
    log_level: str = "INFO"
    log_format: Literal["text", "json"] = "text"
    otlp_endpoint: Endpoint | None = None
    """Where traces go: an OpenTelemetry collector's address for OTLP over HTTP, `http://collector:4318`."""


class HandedOn(Settings):
    """Settings that another process has read: here the environment has no say in them, and is not looked through."""

    def __init__(self, **values: Any) -> None:
        BaseModel.__init__(self, **values)
