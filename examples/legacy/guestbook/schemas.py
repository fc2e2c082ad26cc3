from pydantic import BaseModel


class Entry(BaseModel):
    name: str
    text: str = ""
