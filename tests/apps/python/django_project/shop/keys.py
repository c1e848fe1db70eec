"""The key of each table: a UUID as the recipe says, or the number that Django hands out by default."""

import os
import uuid

from django.db import models


def key():
    if os.environ["SHOP_KEYS"] == "uuid":
        return models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    return models.BigAutoField(primary_key=True, auto_created=True, serialize=False)
