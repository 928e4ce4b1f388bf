"""The password flow of Authlib, and its refreshing by itself."""

import conversation
from authlib.integrations.requests_client import OAuth2Session

settings = conversation.settings()
taken = []

session = OAuth2Session(
    settings["client_id"],
    settings["client_secret"],
    token_endpoint_auth_method=settings["token_endpoint_auth_method"],
    token_endpoint=settings["token_endpoint"],
    update_token=lambda token, **_: taken.append(dict(token)),
)
taken.append(dict(session.fetch_token(username=settings["username"], password=settings["password"])))
for _ in range(2):
    session.token = {**taken[-1], "expires_at": 1}  # an hour later
    answer = session.get(settings["userinfo_endpoint"])
    answer.raise_for_status()

conversation.report({"session": taken, "user": answer.json()})
