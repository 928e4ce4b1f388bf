"""The password flow of requests-oauthlib, and its refreshing by itself."""

import os

import conversation
from oauthlib.oauth2 import LegacyApplicationClient
from requests_oauthlib import OAuth2Session

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # the server is http, on loopback
settings = conversation.settings()
client = {name: settings[name] for name in ("client_id", "client_secret")}
taken = []

session = OAuth2Session(
    client=LegacyApplicationClient(client_id=settings["client_id"]),
    auto_refresh_url=settings["token_endpoint"],
    auto_refresh_kwargs=client,
    token_updater=taken.append,
)
taken.append(
    session.fetch_token(
        settings["token_endpoint"],
        username=settings["username"],
        password=settings["password"],
        client_secret=settings["client_secret"],
        # In the parameters, or else in a Basic header.
        include_client_id=settings["token_endpoint_auth_method"] == "client_secret_post" or None,
    )
)
for _ in range(2):
    session.token = {**taken[-1], "expires_at": 1}  # an hour later
    answer = session.get(settings["userinfo_endpoint"])
    answer.raise_for_status()

conversation.report({"session": taken, "user": answer.json()})
