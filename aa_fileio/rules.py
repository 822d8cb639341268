# SPDX-License-Identifier: MIT
"""Path rules that are offered. What a rule means stands in the README, "Path rules"."""

from __future__ import annotations

from typing import Final

__all__ = ["DEFAULT_SENSITIVE"]

# In a home: keys, tokens and what is executed at the next login.
_OF_A_HOME: Final = (
    ".ssh/",
    ".gnupg/",
    ".aws/",
    ".azure/",
    ".config/gcloud/",
    ".kube/",
    ".docker/config.json",
    ".netrc",
    ".git-credentials",
    ".config/git/credentials",
    ".npmrc",
    ".pypirc",
    ".pgpass",
    ".my.cnf",
    ".vault-token",
    ".password-store/",
    ".local/share/keyrings/",
    ".mozilla/firefox/",
    ".config/google-chrome/",
    ".config/chromium/",
    ".bash_history",
    ".zsh_history",
    ".profile",
    ".bashrc",
    ".bash_profile",
    ".zshrc",
)

DEFAULT_SENSITIVE: Final[tuple[str, ...]] = (
    # Who may log in, and as whom.
    "/etc/passwd",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/group",
    "/etc/sudoers",
    "/etc/sudoers.d/",
    "/etc/pam.d/",
    "/etc/security/",
    "/etc/ssh/",
    "/etc/krb5.keytab",
    # What others execute.
    "/etc/crontab",
    "/etc/cron.*/",
    "/var/spool/cron/",
    "/etc/systemd/system/",
    "/etc/ld.so.preload",
    "/etc/profile",
    "/etc/profile.d/",
    # Secrets of services.
    "/etc/ssl/private/",
    "/etc/kubernetes/",
    "/run/secrets/",
    "/var/run/secrets/",
    "/var/lib/docker/",
    "/run/docker.sock",
    # Other processes' environment and memory.
    "/proc/*/environ",
    "/proc/*/mem",
    "/proc/kcore",
    "/dev/mem",
    *(f"{home}/{name}" for home in ("/root", "/home/*") for name in _OF_A_HOME),
)
"""Files whose reading or writing somebody will want to know of: accounts, keys, tokens, what is executed later."""
