"""Nothing that is logged holds a secret, whatever happens."""

from __future__ import annotations

import logging

import grpc
import pytest

from tests.auth.conftest import PASSWORD, Auth


async def test_no_secret_reaches_the_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], auth: Auth
) -> None:
    """With every library's words at the finest level; the rows that a query found are left out."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "sqlalchemy.engine")
    secrets = {(auth.data_path / "admin-password").read_text().strip(), PASSWORD, "wr0ng-passw0rd"}
    await auth.add_user("ada", "user")
    tokens = await auth.login("ada")
    for name in ("ada", PASSWORD):
        with pytest.raises(grpc.aio.AioRpcError):
            await auth.login(name, "wr0ng-passw0rd")
    rotated = await auth.refresh(tokens.refresh_token)
    with pytest.raises(grpc.aio.AioRpcError):
        await auth.refresh(tokens.refresh_token)
    again = await auth.login("ada")  # the family of the token that was used twice is over
    made = await auth.create_key(again.access_token, name="k")
    await auth.check(made.secret)
    await auth.revoke_key(again.access_token, made.key.key_id)
    await auth.check(made.secret)
    with pytest.raises(grpc.aio.AioRpcError):
        await auth.who(f"{rotated.access_token[:-4]}AAAA")
    secrets |= {tokens.access_token, tokens.refresh_token, rotated.access_token, rotated.refresh_token}
    secrets |= {again.access_token, again.refresh_token}
    secrets |= {made.secret, made.secret.rsplit("_", 1)[1], rotated.access_token.rsplit(".", 1)[1]}
    logged = caplog.text + "".join(capfd.readouterr())
    assert "key revoked" in logged
    assert "INSERT INTO api_keys" in logged
    assert [secret for secret in secrets if secret in logged] == []
